#include "pannier/transport/link.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "break_links.h"
#include "support.h"

namespace pannier {
namespace {

std::pair<std::shared_ptr<LinkSocket>, std::shared_ptr<LinkSocket>> Sockets() {
  int fds[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  return {std::make_shared<LinkSocket>(UniqueFd(fds[0])),
          std::make_shared<LinkSocket>(UniqueFd(fds[1]))};
}

TEST(LinkSocket, CarriesPacketsDescriptorsAndItsEnd) {
  std::string name;
  auto listening = LinkSocket::Listen(&name);
  ASSERT_TRUE(listening.ok());
  EXPECT_FALSE(LinkSocket::Accept(listening->get()).valid());
  auto fd = LinkSocket::Connect(name);
  ASSERT_TRUE(fd.ok()) << fd.status();
  LinkSocket near(*std::move(fd));
  auto far = std::make_unique<LinkSocket>(LinkSocket::Accept(listening->get()));
  EXPECT_EQ(near.Peer()->pid, getpid());
  EXPECT_EQ(far->Peer()->uid, geteuid());

  EXPECT_TRUE(near.Receive()->bytes.empty());
  const UniqueFd file(memfd_create("x", MFD_CLOEXEC));
  ASSERT_EQ(write(file.get(), "shared", 6), 6);
  ASSERT_TRUE(far->Send(AsBytes("first"), file.get()).ok());
  ASSERT_TRUE(far->Send(AsBytes("second"), -1).ok());
  auto packet = near.Receive();
  ASSERT_TRUE(packet.ok());
  EXPECT_EQ(packet->bytes, "first");
  char text[6];
  EXPECT_EQ(pread(packet->fd.get(), text, 6, 0), 6);
  EXPECT_EQ(std::string(text, 6), "shared");
  EXPECT_EQ(near.Receive()->bytes, "second");
  EXPECT_TRUE(near.Alive());
  far.reset();
  EXPECT_FALSE(near.Alive());
  EXPECT_TRUE(near.Receive()->ended);
}

TEST(LinkSocket, ConnectsToNamesOfOursOnly) {
  for (const char* name : {"", "x", "pannier-", "/tmp/.X11-unix/X0"}) {
    EXPECT_EQ(KindOf(LinkSocket::Connect(name).status()), ErrorKind::kInvalidArgument) << name;
  }
  const Status nobody = LinkSocket::Connect("pannier-" + std::string(32, '0')).status();
  EXPECT_EQ(ErrnoOf(nobody), ECONNREFUSED);
}

class LinkPair : public testing::Test {
 protected:
  LinkPair() {
    auto [near, far] = Sockets();
    pool_ = *Pool::Create({.quota = 64 << 20, .name = "near"});
    far_pool_ = *Pool::Create({.quota = 64 << 20, .name = "far"});
    auto near_row = *Link::OpenRow(*pool_, "far", near);
    auto far_row = *Link::OpenRow(*far_pool_, "near", far);
    EXPECT_TRUE(Link::SendToken(*near, {1, 2, 3}, near_row->ring_fd()).ok());
    auto token = Link::ReceiveGreeting(*far, /*accepted=*/false);
    EXPECT_TRUE(token.ok() && token->arrived);
    EXPECT_EQ(token->token, (wire::Token{1, 2, 3}));
    EXPECT_TRUE(Link::SendAccepted(*far, far_row->ring_fd()).ok());
    auto accepted = Link::ReceiveGreeting(*near, /*accepted=*/true);
    EXPECT_TRUE(accepted.ok() && accepted->arrived);
    near_ = *Link::Create("far", near, pool_, std::move(near_row), accepted->ring);
    far_ = *Link::Create("near", far, far_pool_, std::move(far_row), token->ring);
  }
  std::shared_ptr<Pool> pool_, far_pool_;
  std::unique_ptr<Link> near_, far_;
};

TEST_F(LinkPair, AnnouncesASegmentOnceAndOpensItsLeases) {
  auto block = pool_->Allocate(10'000);
  ASSERT_TRUE(block.ok());
  block->mutable_data()[9'999] = std::byte{42};
  auto lease = near_->row().Grant(block->data(), block->size(), false, Deadline::Now());
  ASSERT_TRUE(lease.ok());
  ASSERT_TRUE(near_->Announce(*lease).ok());
  ASSERT_TRUE(near_->Announce(*lease).ok());
  auto opened = far_->Open(*lease, true);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->span()[9'999], std::byte{42});
  *opened = Buffer();
  EXPECT_EQ(Leases(*pool_), 0u);
}

TEST_F(LinkPair, ALeaseOfASegmentNeverAnnouncedIsCorrupt) {
  auto block = pool_->Allocate(10'000);
  auto lease = near_->row().Grant(block->data(), block->size(), false, Deadline::Now());
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(KindOf(far_->Open(*lease, true).status()), ErrorKind::kCorruptMessage);
}

TEST_F(LinkPair, PacketsOutOfTurnAreCorrupt) {
  for (const std::string& packet :
       {std::string("PNNL\x01") + std::string(16, 'x'), std::string("PNNL\x02"),
        std::string("PNNL\x09"), std::string("XXXX\x03"), std::string("PNNL\x03\x01"),
        std::string("P")}) {
    auto [near, far] = Sockets();
    auto row = *Link::OpenRow(*pool_, "raw", near);
    const UniqueFd ring(dup(row->ring_fd()));
    auto link = *Link::Create("raw", near, pool_, std::move(row), ring);
    ASSERT_TRUE(far->Send(AsBytes(packet), -1).ok());
    EXPECT_EQ(KindOf(link->ReceivePackets().status()), ErrorKind::kCorruptMessage) << packet;
  }
}

TEST_F(LinkPair, ASegmentThatCouldShrinkIsCorrupt) {
  auto [near, far] = Sockets();
  auto row = *Link::OpenRow(*pool_, "raw", near);
  const UniqueFd ring(dup(row->ring_fd()));
  auto link = *Link::Create("raw", near, pool_, std::move(row), ring);
  const UniqueFd loose(memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(loose.get(), 4096), 0);
  std::string packet = "PNNL\x03";
  ByteWriter writer(&packet);
  writer.Write<uint32_t>(1);
  writer.Write<uint64_t>(4096);
  ASSERT_TRUE(far->Send(AsBytes(packet), loose.get()).ok());
  EXPECT_EQ(KindOf(link->ReceivePackets().status()), ErrorKind::kCorruptMessage);
}

TEST_F(LinkPair, ASegmentAnnouncedTwiceIsCorrupt) {
  auto block = pool_->Allocate(10'000);
  auto lease = near_->row().Grant(block->data(), block->size(), true, Deadline::Now());
  ASSERT_TRUE(near_->Announce(*lease).ok());
  ASSERT_TRUE(*far_->ReceivePackets());
  const SegmentHandle segment = *pool_->Segment(lease->segment);
  std::string packet = "PNNL\x03";
  ByteWriter writer(&packet);
  writer.Write(segment.id);
  writer.Write(segment.size);
  // The receiver's socket is not to be had from outside; the sender's is.
  ASSERT_TRUE(const_cast<LinkSocket&>(near_->socket()).Send(AsBytes(packet), segment.fd).ok());
  EXPECT_EQ(KindOf(far_->ReceivePackets().status()), ErrorKind::kCorruptMessage);
  // What was leased before stays good.
  auto opened = far_->Open(*lease, false);
  EXPECT_TRUE(opened.ok()) << opened.status();
}

// As after a bye, while the program has not closed the connection yet.
TEST_F(LinkPair, ThatNobodyReadsStillLearnsThatTheFarSideIsDone) {
  auto of_far = far_pool_->Allocate(10'000);
  auto unopened = far_->row().Grant(of_far->data(), of_far->size(), true, Deadline::Now());
  ASSERT_TRUE(far_->Announce(*unopened).ok());
  auto block = pool_->Allocate(10'000);
  auto lease = near_->row().Grant(block->data(), block->size(), true, Deadline::Now());
  ASSERT_TRUE(near_->Announce(*lease).ok());
  EXPECT_EQ(Leases(*pool_), 1u);
  far_.reset();  // it never saw the lease
  EXPECT_EQ(Leases(*pool_), 0u);
  auto opened = near_->Open(*unopened, false);
  EXPECT_TRUE(opened.ok()) << opened.status();
}

// Nothing can be said over its socket then, and this process lives.
TEST_F(LinkPair, ThatBrokeStillLearnsThatTheFarSideIsDone) {
  auto block = pool_->Allocate(10'000);
  std::vector<LeaseDescriptor> leases;
  for (int i = 0; i < 3; ++i) {
    leases.push_back(*near_->row().Grant(block->data(), block->size(), true, Deadline::Now()));
    ASSERT_TRUE(near_->Announce(leases.back()).ok());
  }
  ASSERT_TRUE(*far_->ReceivePackets());
  auto opened = far_->Open(leases[1], false);
  ASSERT_TRUE(opened.ok()) << opened.status();
  BreakLinks();
  EXPECT_FALSE(*near_->ReceivePackets());
  EXPECT_FALSE(near_->PeerIsOver());
  near_.reset();
  *block = Buffer();
  far_.reset();  // two leases were in frames that are lost, and one is held
  EXPECT_EQ(Leases(*pool_), 3u);
  *opened = Buffer();
  EXPECT_EQ(Leases(*pool_), 0u);
  EXPECT_EQ(pool_->Stats().blocks, 0u);
  EXPECT_EQ(pool_->Audit(), absl::OkStatus());
}

TEST_F(LinkPair, TheRowOutlivesTheLinkWhileTheFarSideHolds) {
  auto block = pool_->Allocate(10'000);
  auto lease = near_->row().Grant(block->data(), block->size(), true, Deadline::Now());
  ASSERT_TRUE(near_->Announce(*lease).ok());
  auto opened = far_->Open(*lease, false);
  ASSERT_TRUE(opened.ok());
  near_.reset();
  *block = Buffer();
  EXPECT_EQ(Leases(*pool_), 1u);
  far_.reset();  // its buffer keeps the socket open
  EXPECT_EQ(Leases(*pool_), 1u);
  *opened = Buffer();
  EXPECT_EQ(Leases(*pool_), 0u);
  EXPECT_EQ(pool_->Stats().blocks, 0u);
}

}  // namespace
}  // namespace pannier
