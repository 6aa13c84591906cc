#include "pannier/rpc/reply_queue.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/rpc/envelope.h"
#include "pannier/rpc/placement.h"

namespace pannier::rpc {

Status ReplyQueue::SendResult(uint64_t call_id, RawResult result, Deadline deadline) {
  return SendOrKeep({call_id, PlainEnvelope(EnvelopeKind::kReply, call_id),
                     std::move(result.stream), std::move(result.buffers), deadline,
                     Deadline::Never(), /*is_error=*/false});
}

Status ReplyQueue::SendItem(uint64_t call_id, RawResult item, Deadline deadline,
                            std::function<void()> failed) {
  return SendOrKeep({call_id, PlainEnvelope(EnvelopeKind::kItem, call_id), std::move(item.stream),
                     std::move(item.buffers), deadline, Deadline::Never(),
                     /*is_error=*/false, std::move(failed)});
}

Status ReplyQueue::SendError(uint64_t call_id, const Status& status, Deadline deadline) {
  return SendOrKeep(ErrorReply(call_id, status, deadline));
}

ReplyQueue::Reply ReplyQueue::ErrorReply(uint64_t call_id, const Status& status,
                                         Deadline deadline) {
  RemoteFailure failure = FailureFrom(status);
  std::string exception = std::move(failure.exception);
  failure.exception.clear();
  return {call_id,
          ErrorEnvelope(call_id, failure),
          BufferOf(std::move(exception)),
          {},
          deadline,
          Deadline::Never(),
          /*is_error=*/true};
}

Status ReplyQueue::SendOrKeep(Reply&& reply) {
  std::vector<std::function<void()>> failed;
  std::vector<Reply> over;
  Status kept;
  {
    const std::lock_guard lock(mutex_);
    kept = SendOrKeepLocked(std::move(reply));
    failed.swap(failed_);
    over.swap(over_);
  }
  for (const auto& tell : failed) tell();
  return kept;
}

Status ReplyQueue::SendOrKeepLocked(Reply&& reply) {
  if (waiting_.empty() && Attempt(reply)) return absl::OkStatus();
  // Without room in the pool they stay where they are, and are copied when they are sent.
  if (auto placed =
          PlaceInPool(*connection_, reply.buffers, limits_.inline_threshold, Deadline::Now());
      placed.ok()) {
    reply.buffers.swap(*placed);
    over_.push_back({.call_id = reply.call_id, .envelope = {}, .buffers = *std::move(placed)});
  }
  reply.bytes = BytesOf(reply);
  if (reply.bytes >
      limits_.max_waiting_bytes - std::min(waiting_bytes_, limits_.max_waiting_bytes)) {
    return MakeError(ErrorKind::kLimit,
                     absl::StrCat(connection_->info().peer, " does not take its replies: ",
                                  waiting_.size(), " of ", waiting_bytes_,
                                  " bytes wait, and at most ", limits_.max_waiting_bytes, " may"));
  }
  waiting_bytes_ += reply.bytes;
  waiting_.push_back(std::move(reply));
  waits_ = true;
  return absl::OkStatus();
}

uint64_t ReplyQueue::BytesOf(const Reply& reply) const {
  uint64_t bytes = sizeof(Reply) + reply.envelope.span().size() + reply.stream.size();
  for (const Buffer& buffer : reply.buffers) {
    if (!connection_->pool()->Contains(buffer.data(), buffer.size())) bytes += buffer.size();
  }
  return bytes;
}

void ReplyQueue::Flush() {
  std::vector<std::function<void()>> failed;
  std::vector<Reply> over;
  {
    const std::lock_guard lock(mutex_);
    while (!waiting_.empty() && Attempt(waiting_.front())) {
      waiting_bytes_ -= waiting_.front().bytes;
      over_.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    waits_ = !waiting_.empty();
    failed.swap(failed_);
    over.swap(over_);
  }
  for (const auto& tell : failed) tell();
}

bool ReplyQueue::Attempt(Reply& reply) {
  // The caller has given up and would drop it.
  if (reply.deadline.Passed()) return true;
  const Status sent = connection_->Send(
      {.envelope = reply.envelope.span(), .stream = reply.stream.span(), .buffers = reply.buffers},
      Deadline::Now());
  switch (KindOf(sent)) {
    case ErrorKind::kDeadlineExceeded:
    case ErrorKind::kInterrupted:  // whoever waits is told of that
      return false;
    case ErrorKind::kPoolExhausted:
      if (reply.patience.never()) reply.patience = Deadline::After(limits_.pool_patience);
      if (!reply.patience.Passed() && MayFit(*connection_, reply.buffers)) return false;
      break;
    case ErrorKind::kConnectionLost:
    case ErrorKind::kClosed:
    case ErrorKind::kForked:
      return true;
    default:
      break;
  }
  if (sent.ok() || reply.is_error) return true;
  if (reply.failed) failed_.push_back(std::move(reply.failed));
  Reply error =
      ErrorReply(reply.call_id, Annotate(sent, "the result could not be sent"), reply.deadline);
  error.bytes = reply.bytes;  // what it is counted with
  over_.push_back(std::exchange(reply, std::move(error)));
  return Attempt(reply);
}

}  // namespace pannier::rpc
