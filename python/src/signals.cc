#include "signals.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <optional>

#include <Python.h>

namespace pannier::python {
namespace {

// Used by the main thread alone.
int g_depth = 0;
struct sigaction g_before;

// Set by the handler, on any thread, and taken by the main thread. Relaxed: it guards nothing else.
std::atomic<bool> g_came{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void NoteInterrupt(int) { g_came.store(true, std::memory_order_relaxed); }

// Is this the main thread? Unknown until first asked, and after a fork.
thread_local std::optional<bool> t_main;

bool OnMainThread() {
  if (!t_main) t_main = syscall(SYS_gettid) == getpid();
  return *t_main;
}

void Restore() {
  struct sigaction now;
  sigaction(SIGINT, nullptr, &now);
  // Else somebody has set another handler meanwhile, which stays.
  if (now.sa_handler == &NoteInterrupt) sigaction(SIGINT, &g_before, nullptr);
}

}  // namespace

InterruptsLater::InterruptsLater() {
  if (!OnMainThread()) return;
  active_ = true;
  if (g_depth++ > 0) return;
  struct sigaction note = {};
  note.sa_handler = &NoteInterrupt;
  sigaction(SIGINT, &note, &g_before);
  // Where it does not reach Python, it cuts nothing short.
  if (g_before.sa_handler == SIG_DFL || g_before.sa_handler == SIG_IGN) {
    Restore();
    return;
  }
  // One that has come, and that Python has not handled yet, waits too.
  if (PyOS_InterruptOccurred() != 0) g_came.store(true, std::memory_order_relaxed);
}

InterruptsLater::~InterruptsLater() {
  if (!active_ || g_depth == 0 || --g_depth > 0) return;  // 0: in a forked child
  Restore();
  if (g_came.exchange(false, std::memory_order_relaxed)) raise(SIGINT);
}

void HandleSignalsAfterFork() {
  t_main.reset();
  if (g_depth == 0) return;
  g_depth = 0;
  Restore();
  g_came.store(false, std::memory_order_relaxed);
}

}  // namespace pannier::python
