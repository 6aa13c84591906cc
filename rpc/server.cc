#include "pannier/rpc/server.h"

#include <utility>

#include "pannier/rpc/server_core.h"

namespace pannier {

Server::Server() : Server(ServerOptions()) {}
Server::Server(ServerOptions options)
    : core_(std::make_unique<internal::ServerCore>(std::move(options))) {}
Server::~Server() = default;

void Server::RawMethod(std::string name, RawHandler handler, MethodInfo info) {
  core_->RawMethod(std::move(name), std::move(handler), std::move(info));
}
Status Server::Listen(const std::string& endpoint) { return core_->Listen(endpoint); }
Status Server::Serve() { return core_->Serve(); }
Status Server::Run(const std::string& endpoint) {
  PANNIER_RETURN_IF_ERROR(core_->Listen(endpoint));
  return core_->Serve();
}
Status Server::Start(const std::string& endpoint) { return core_->Start(endpoint); }
Status Server::Wait() { return core_->Wait(); }
void Server::Stop() { core_->Stop(); }
void Server::Drain() { core_->Drain(); }
void Server::Work() { core_->Work(); }
ServerStats Server::Stats() const { return core_->Stats(); }
std::string Server::endpoint() const { return core_->endpoint(); }

}  // namespace pannier
