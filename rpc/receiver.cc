#include "pannier/rpc/receiver.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace pannier {
namespace {

// Between looks while calls are in flight and others wait for them, and how many looks in vain come
// before it sleeps.
constexpr int kTickMillis = 1;
constexpr int kLooksInVain = 20;
// How long it waits for one set of clients: deadlines of calls, and clients that others have come
// to attend to, are looked at as often.
constexpr int kServeMillis = 10;

}  // namespace

StatusOr<std::shared_ptr<Receiver>> Receiver::Make() {
  std::shared_ptr<Receiver> receiver(new Receiver);
  receiver->wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!receiver->wake_.valid()) return SystemError(errno, "eventfd");
  return receiver;
}

void Receiver::Add(const std::shared_ptr<Client>& client) {
  const std::lock_guard lock(mutex_);
  std::erase_if(clients_, [](const std::weak_ptr<Client>& each) { return each.expired(); });
  clients_.push_back(client);
}

void Receiver::Kick(bool now) {
  if (!now && !asleep_) return;
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
}

void Receiver::Stop() {
  stop_ = true;
  Kick(true);
}

void Receiver::Run() {
  int vain = 0;
  while (!stop_) {
    if (Serve()) vain = 0;
    if (Busy()) vain = 0;
    if (++vain <= kLooksInVain) {
      Sleep(kTickMillis);
      continue;
    }
    asleep_ = true;
    if (!Busy() && !stop_) Sleep(-1);
    asleep_ = false;
    vain = 0;
  }
}

std::vector<std::shared_ptr<Client>> Receiver::Clients() const {
  std::vector<std::shared_ptr<Client>> alive;
  const std::lock_guard lock(mutex_);
  for (const auto& weak : clients_) {
    if (auto client = weak.lock()) alive.push_back(std::move(client));
  }
  return alive;
}

bool Receiver::Busy() const {
  // Kept no longer than this: a client that its owner drops ends at once.
  const std::vector<std::shared_ptr<Client>> clients = Clients();
  return std::any_of(clients.begin(), clients.end(),
                     [](const auto& client) { return client->InFlight() > 0; });
}

bool Receiver::Serve() {
  bool served = false;
  while (!stop_) {
    std::vector<std::shared_ptr<Client>> clients;
    std::vector<pollfd> fds{{wake_.get(), POLLIN, 0}};
    for (auto& client : Clients()) {
      if (!client->Unattended()) {
        // Who waits for a call of his own does not look at the time of others.
        while (client->Overdue() && !stop_) client->Dispatch().IgnoreError();
        continue;
      }
      const StatusOr<int> fd = client->fd();
      if (!fd.ok()) {
        client->Dispatch().IgnoreError();  // its end is told to its calls
        continue;
      }
      fds.push_back({*fd, POLLIN, 0});
      clients.push_back(std::move(client));
    }
    if (clients.empty()) return served;
    served = true;
    poll(fds.data(), fds.size(), kServeMillis);
    if (fds[0].revents != 0) Sleep(0);
    for (const auto& client : clients) {
      do {
        client->Dispatch().IgnoreError();
      } while (client->Overdue() && !stop_);
    }
  }
  return served;
}

void Receiver::Sleep(int millis) {
  pollfd wake{wake_.get(), POLLIN, 0};
  if (poll(&wake, 1, millis) <= 0) return;
  uint64_t count;
  (void)!read(wake_.get(), &count, sizeof(count));
}

}  // namespace pannier
