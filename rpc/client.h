// Client: calls methods of a Server over one connection.
//
// Thread-safe: any threads may call at the same time. Replies are matched by call id. Of the
// threads that wait for replies one receives for all and passes that duty on when its own has come
// (docs/threading.md); a client starts no thread. A call that was started and that nobody waits for
// makes no progress on this side: see Dispatch and fd.
//
// When the connection ends, every call in flight fails at once with the reason (ConnectionLost if
// the peer died), and so does each later call, unless the client is told to connect again.
// docs/calls.md says what becomes of a call whatever happens.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/codec/dumps.h"
#include "pannier/codec/loads.h"
#include "pannier/rpc/raw.h"
#include "pannier/rpc/remote_error.h"
#include "pannier/transport/connection.h"

namespace pannier {

namespace internal {
class ClientCore;
struct CallStart;
struct CallState;
}  // namespace internal

struct ClientOptions {
  // Memory of the process's allocator (AllocateBuffer, Array) lies in Pool::Default() from the
  // first Connect on, and is sent with no copy unless `transport.pool` is another.
  TransportOptions transport;
  absl::Duration connect_timeout = absl::Seconds(10);
  // When the connection was lost, the next call connects again, and takes at most so long about it,
  // trying at growing intervals. Zero: it fails as the first one did. Where the kernel attested
  // that the server was of the same user, another connection counts only if it does so again.
  absl::Duration reconnect_timeout = absl::ZeroDuration();
};

struct CallOptions {
  // When the caller gives up. It travels with the call, so the server gives up too.
  Deadline deadline = Deadline::Never();
  // How often the call may be made again, after ConnectionLost (it may have run then), or when the
  // server refused to run it (Limit, Refused). Each time after a longer pause.
  int retries = 0;
};

// A call that was sent. Movable; thread-compatible; may outlive its Client, with whose end it
// fails. Dropping it abandons the call: a late reply is discarded and its buffers are handed back.
class PendingCall {
 public:
  PendingCall() = default;
  PendingCall(PendingCall&&) noexcept = default;
  PendingCall& operator=(PendingCall&& other) noexcept;
  ~PendingCall();

  // Waits for the reply until `deadline` or the call's own, whichever is earlier; receives for all
  // calls of the client meanwhile. Errors: that of the far side, with its RemoteFailure;
  // DeadlineExceeded and Interrupted (the call is still pending, and Wait may be called again,
  // unless it was the call's own deadline that passed); ConnectionLost, Closed, CorruptMessage,
  // Forked; InvalidArgument if the result was taken before.
  StatusOr<RawResult> Wait(Deadline deadline = Deadline::Never());
  // Waits likewise, and leaves the result. OK if there is one, be it an error.
  Status WaitDone(Deadline deadline = Deadline::Never());
  // True if Wait would return at once. Receives nothing.
  bool Done() const;
  // Tells the server that nobody wants the result, if that can be said without waiting, and ends
  // the call with kCancelled here.
  void Cancel();
  // Calls `done` when the call is done, on the thread that received the reply, in Dispatch or in
  // some Wait, under no lock; at once if it is done already. At most one. `done` must not block; it
  // may call Wait, which returns at once.
  void OnDone(std::function<void()> done);
  // False for one that holds no call: default-constructed, moved from, or TryStartRaw's no.
  explicit operator bool() const { return state_ != nullptr; }

 private:
  friend class Client;
  PendingCall(std::shared_ptr<internal::ClientCore> core,
              std::shared_ptr<internal::CallState> state)
      : core_(std::move(core)), state_(std::move(state)) {}
  void Abandon();

  std::shared_ptr<internal::ClientCore> core_;
  std::shared_ptr<internal::CallState> state_;
};

// A call whose handler answers with a sequence of values. As PendingCall; dropping it cancels. The
// server sends no more than `credit` items ahead of those taken.
class PendingStream {
 public:
  PendingStream() = default;
  PendingStream(PendingStream&&) noexcept = default;
  PendingStream& operator=(PendingStream&& other) noexcept;
  ~PendingStream() { Cancel(); }

  // The next item; nothing after the last one. Errors: as of PendingCall::Wait; what ended the
  // sequence stays and is told again.
  StatusOr<std::optional<RawResult>> Next(Deadline deadline = Deadline::Never());
  // Waits likewise, and takes nothing. OK if Next would return at once.
  Status WaitReady(Deadline deadline = Deadline::Never());
  // What the handler returned, after the last item: a pickle of None, as a rule. Once.
  StatusOr<RawResult> Result();
  // The sequence has ended, though there may be items to take.
  bool Done() const;
  // True if Next would return at once. Receives nothing.
  bool Ready() const;
  void Cancel();
  // Calls `change` at each item that comes and at the end, as OnDone does; soon, if there is one
  // already.
  void OnChange(std::function<void()> change);
  explicit operator bool() const { return state_ != nullptr; }

 private:
  friend class Client;
  PendingStream(std::shared_ptr<internal::ClientCore> core,
                std::shared_ptr<internal::CallState> state)
      : core_(std::move(core)), state_(std::move(state)) {}

  std::shared_ptr<internal::ClientCore> core_;
  std::shared_ptr<internal::CallState> state_;
};

// The same, of C++ values. `T` as R of Client::Call.
template <class T>
class Stream {
 public:
  Stream(PendingStream pending, std::string name)
      : pending_(std::move(pending)), name_(std::move(name)) {}
  StatusOr<std::optional<T>> Next(Deadline deadline = Deadline::Never()) {
    PANNIER_ASSIGN_OR_RETURN(const std::optional<RawResult> item, pending_.Next(deadline));
    if (!item) return std::optional<T>();
    codec::DecodeOptions options;
    options.stream_owner = item->stream;
    StatusOr<T> value = codec::Loads<T>(item->stream.span(), item->buffers, options);
    if (!value.ok()) return Annotate(value.status(), "item of '" + name_ + "'");
    return std::optional<T>(*std::move(value));
  }
  void Cancel() { pending_.Cancel(); }

 private:
  PendingStream pending_;
  std::string name_;
};

// So many items of a sequence are under way, unless the caller says otherwise.
inline constexpr uint32_t kDefaultCredit = 16;

class Client : public std::enable_shared_from_this<Client> {
 public:
  // Errors: those of Connection::Connect.
  static StatusOr<std::shared_ptr<Client>> Connect(const std::string& endpoint,
                                                   const ClientOptions& options = {});
  ~Client();  // Close
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Calls `method` with C++ values (codec/convert.h) and waits for its result, an R:
  //
  //   StatusOr<Array<float>> y = client->Call<Array<float>>("scale", x, 2.0f);
  //   Status done = client->Call<void>("save", x, "/tmp/x");
  //
  // R owns what it holds: ArrayView, Array and Buffer hold the received buffer, which is handed
  // back when they are gone; what would look into the message itself (string_view, ByteSpan,
  // codec::Value) does not compile. Call<void> passes over the result and returns a Status. Buffers
  // among the arguments must not be written to until the leases on them are home, if they lie in
  // the pool; anything else may be, once Call returned. Errors: those of CallRaw; Pickling
  // (arguments); Unpickling (the result is no R).
  template <class R, class... A>
  std::conditional_t<std::is_void_v<R>, Status, StatusOr<R>> Call(const CallOptions& options,
                                                                  std::string_view method,
                                                                  const A&... arguments) {
    const StatusOr<RawResult> result =
        CallEncoded(options, method, codec::DumpsArguments({}, arguments...));
    if constexpr (std::is_void_v<R>) {
      return result.status();
    } else {
      if (!result.ok()) return result.status();
      return Decode<R>(method, *result);
    }
  }
  template <class R, class... A>
  auto Call(std::string_view method, const A&... arguments) {
    return Call<R>(CallOptions(), method, arguments...);
  }

  // Calls a method whose handler emits values:
  //
  //   auto tiles = client->CallStream<Array<float>>({}, "tiles", image);
  //   for (auto tile = tiles->Next(); tile.ok() && *tile; tile = tiles->Next())
  //   Use(**tile);
  template <class T, class... A>
  StatusOr<Stream<T>> CallStream(const CallOptions& options, std::string_view method,
                                 const A&... arguments) {
    PANNIER_ASSIGN_OR_RETURN(const codec::Encoded encoded, codec::DumpsArguments({}, arguments...));
    PANNIER_ASSIGN_OR_RETURN(
        PendingStream pending,
        StartStreamRaw(method, {.stream = AsBytes(encoded.stream), .buffers = encoded.buffers},
                       options.deadline));
    return Stream<T>(std::move(pending), std::string(method));
  }

  // Sends a call that is not answered, whatever becomes of it. OK means sent, no more.
  template <class... A>
  Status Notify(std::string_view method, const A&... arguments) {
    PANNIER_ASSIGN_OR_RETURN(const codec::Encoded encoded, codec::DumpsArguments({}, arguments...));
    return NotifyRaw(method, {.stream = AsBytes(encoded.stream), .buffers = encoded.buffers});
  }

  // The same for values whose types are known at run time only. The root of `arguments` is the
  // tuple of arguments. The result is a Document of its own.
  StatusOr<codec::Document> CallDynamic(const CallOptions& options, std::string_view method,
                                        const codec::Document& arguments);

  // Calls `method` and waits for its result until `deadline`, which is also the call's, so the
  // server is told. Errors: those of StartRaw and PendingCall::Wait; with Interrupted or
  // DeadlineExceeded the call is abandoned.
  StatusOr<RawResult> CallRaw(std::string_view method, const RawArgs& args,
                              Deadline deadline = Deadline::Never());
  StatusOr<RawResult> CallRaw(std::string_view method, const RawArgs& args,
                              const CallOptions& options);

  // Sends a call and returns without waiting for its result. `deadline` is the call's: it bounds
  // the sending too. Errors: those of Connection::Send; InvalidArgument (method name empty or
  // longer than 1,024 bytes).
  StatusOr<PendingCall> StartRaw(std::string_view method, const RawArgs& args,
                                 Deadline deadline = Deadline::Never());

  // The same, but holds no call where there is no room for it now, neither in the server's window
  // nor in the pool. Connects again, if it has to, within `deadline`.
  StatusOr<PendingCall> TryStartRaw(std::string_view method, const RawArgs& args,
                                    Deadline deadline = Deadline::Never());
  // The same for sequences. `credit` > 0 items may be under way. With `wait` false as TryStartRaw.
  StatusOr<PendingStream> StartStreamRaw(std::string_view method, const RawArgs& args,
                                         Deadline deadline = Deadline::Never(),
                                         uint32_t credit = kDefaultCredit, bool wait = true);
  Status NotifyRaw(std::string_view method, const RawArgs& args,
                   Deadline deadline = Deadline::Never());

  // Receives replies until none is there to take, or some dozens were, waiting for the first until
  // `deadline`, and completes their calls; also those whose deadline has passed, some dozens of
  // them. For event loops: poll fd(), which stays readable while replies are left, then Dispatch().
  // Receives nothing while another thread waits for replies, as that one does.
  // Errors: what ended the connection, when nothing is left to receive; Interrupted; kSystem (a
  // message could not be opened, and all calls in flight failed with that).
  Status Dispatch(Deadline deadline = Deadline::Now());
  // Readable when Dispatch may have something to do. The connection's; lives until Close, or until
  // a call connected again.
  StatusOr<int> fd();
  // True if calls are in flight and no thread waits for replies.
  bool Unattended() const;
  size_t InFlight() const;
  // True if Dispatch left calls whose deadline has passed.
  bool Overdue() const;

  // Ends the connection. Calls in flight fail with kClosed. Idempotent, any thread.
  void Close();
  // OK while calls can be made, else what ended the connection.
  Status status() const;
  // Of the present connection, or the last one.
  ConnectionInfo info() const;
  ConnectionStats Stats() const;
  std::shared_ptr<Pool> pool() const;

 private:
  StatusOr<RawResult> CallEncoded(const CallOptions& options, std::string_view method,
                                  const StatusOr<codec::Encoded>& arguments);
  Status ResultError(std::string_view method, const Status& status) const;
  template <class R>
  StatusOr<R> Decode(std::string_view method, const RawResult& result) const {
    codec::DecodeOptions options;
    options.stream_owner = result.stream;
    StatusOr<R> value = codec::Loads<R>(result.stream.span(), result.buffers, options);
    if (!value.ok()) return ResultError(method, value.status());
    return value;
  }

  Client(std::string endpoint, const ClientOptions& options,
         std::shared_ptr<internal::ClientCore> core)
      : endpoint_(std::move(endpoint)), options_(options), core_(std::move(core)) {}
  bool connects_again() const { return options_.reconnect_timeout > absl::ZeroDuration(); }
  std::shared_ptr<internal::ClientCore> Core() const;
  // The one to call with: connected again, if that is to be, until `deadline`; an ended one
  // otherwise. Errors: ConnectionLost, Interrupted.
  StatusOr<std::shared_ptr<internal::ClientCore>> Usable(Deadline deadline);
  // With `lock`, which it releases meanwhile: one attempt, and a pause if it fails.
  Status ConnectAgain(std::unique_lock<std::mutex>& lock, Deadline deadline, absl::Duration pause);
  struct Started {
    std::shared_ptr<internal::ClientCore> core;
    std::shared_ptr<internal::CallState> call;  // null: there was no room
  };
  StatusOr<Started> Start(std::string_view method, const RawArgs& args,
                          const internal::CallStart& how);
  StatusOr<RawResult> CallOnce(std::string_view method, const RawArgs& args, Deadline deadline);

  const std::string endpoint_;
  const ClientOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable connected_;
  // Guarded by mutex_.
  std::shared_ptr<internal::ClientCore> core_;  // constant, unless connects_again()
  bool connecting_ = false;                     // some thread connects again
  bool closed_ = false;
};

}  // namespace pannier
