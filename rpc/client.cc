#include "pannier/rpc/client.h"

#include <utility>

#include "pannier/rpc/client_core.h"
#include "pannier/rpc/pool_allocator.h"

namespace pannier {
namespace {

Status NoCall() { return MakeError(ErrorKind::kInvalidArgument, "this PendingCall holds no call"); }

}  // namespace

PendingCall& PendingCall::operator=(PendingCall&& other) noexcept {
  if (this != &other) {
    Abandon();
    core_ = std::move(other.core_);
    state_ = std::move(other.state_);
  }
  return *this;
}

PendingCall::~PendingCall() { Abandon(); }

void PendingCall::Abandon() {
  if (state_ != nullptr) core_->Abandon(*state_, /*tell=*/false);
}

StatusOr<RawResult> PendingCall::Wait(Deadline deadline) {
  if (state_ == nullptr) return NoCall();
  return core_->Wait(*state_, deadline);
}

bool PendingCall::Done() const { return state_ == nullptr || core_->Done(*state_); }

void PendingCall::Cancel() {
  if (state_ != nullptr) core_->Abandon(*state_, /*tell=*/true);
}

void PendingCall::OnDone(std::function<void()> done) {
  if (state_ == nullptr) {
    done();
  } else {
    core_->OnDone(*state_, std::move(done));
  }
}

StatusOr<std::shared_ptr<Client>> Client::Connect(const std::string& endpoint,
                                                  const ClientOptions& options) {
  rpc::InstallPoolAllocator();
  PANNIER_ASSIGN_OR_RETURN(
      std::shared_ptr<Connection> connection,
      Connection::Connect(endpoint, options.transport, Deadline::After(options.connect_timeout)));
  return std::shared_ptr<Client>(
      new Client(std::make_shared<internal::ClientCore>(std::move(connection), options.transport)));
}

Client::~Client() { Close(); }

StatusOr<RawResult> Client::CallRaw(std::string_view method, const RawArgs& args,
                                    Deadline deadline) {
  PANNIER_ASSIGN_OR_RETURN(const auto call, core_->Start(method, args, deadline));
  StatusOr<RawResult> result = core_->Wait(*call, Deadline::Never());
  // The server knows the deadline by itself; of an interrupt it has to be told.
  if (!result.ok() && KindOf(result.status()) == ErrorKind::kInterrupted) {
    core_->Abandon(*call, /*tell=*/true);
  }
  return result;
}

StatusOr<PendingCall> Client::StartRaw(std::string_view method, const RawArgs& args,
                                       Deadline deadline) {
  PANNIER_ASSIGN_OR_RETURN(auto call, core_->Start(method, args, deadline));
  return PendingCall(core_, std::move(call));
}

Status Client::Dispatch(Deadline deadline) { return core_->Dispatch(deadline); }
StatusOr<int> Client::fd() { return core_->connection().fd(); }
void Client::Close() { core_->Close(); }
Status Client::status() const { return core_->status(); }
const ConnectionInfo& Client::info() const { return core_->connection().info(); }
ConnectionStats Client::Stats() const { return core_->connection().Stats(); }
const std::shared_ptr<Pool>& Client::pool() const { return core_->connection().pool(); }

}  // namespace pannier
