// The codec's part of bench/codec.py, which starts it: times the codec on the streams that
// Python pickled, turn by turn, so that both are measured in one run.
//
//   codec_times FOLDER
//
// Each line of the input asks for one turn of one workload: "NAME BUFFERS SIZE MILLISECONDS":
// the stream is FOLDER/NAME, with as many out-of-band buffers of that many bytes, and each
// measurement takes about that long. The answer is a line for each, "WAY SECONDS", the time of
// one call, and an empty line. Seconds are of this thread's processor time, which what else
// the machine does hardly changes.
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <unordered_map>
#include <vector>

#include "pannier/codec/dumps.h"
#include "pannier/codec/encoder.h"
#include "pannier/codec/globals.h"
#include "pannier/codec/loads.h"

namespace {

struct Point {
  double x = 0;
  double y = 0;
};
struct Row {
  int64_t id = 0;
  double score = 0;
  bool good = false;
};

}  // namespace

template <>
struct pannier::codec::PythonClass<Point> {
  static constexpr std::string_view kModule = "codec_workloads";
  static constexpr std::string_view kName = "Point";
  static constexpr auto kFields = std::tuple(Field("x", &Point::x), Field("y", &Point::y));
};
template <>
struct pannier::codec::PythonDict<Row> {
  static constexpr auto kFields =
      std::tuple(Field("id", &Row::id), Field("score", &Row::score), Field("good", &Row::good));
};

namespace pannier::codec {
namespace {

double Now() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

[[noreturn]] void Die(std::string_view what) {
  std::cerr << "codec_times: " << what << "\n";
  std::exit(1);
}

template <class T>
T Must(StatusOr<T> value) {
  if (!value.ok()) Die(value.status().ToString());
  return *std::move(value);
}

// Memory that is given back goes to the system at once, or is kept.
void SetMemoryCold(bool cold) {
  mallopt(M_MMAP_THRESHOLD, cold ? 128 << 10 : 32 << 20);
  mallopt(M_TRIM_THRESHOLD, cold ? 0 : 1 << 30);
  if (cold) malloc_trim(0);
}

class Turn {
 public:
  Turn(std::string stream, size_t buffers, size_t size, double seconds)
      : stream_(std::move(stream)), seconds_(seconds) {
    for (size_t i = 0; i < buffers; ++i) buffers_.push_back(Buffer::OfHeap(size));
    if (buffers > 0) {
      options_.buffers = buffers_;
      encode_.place_buffer = OutOfBand;
    }
  }

  void Values() {
    Decoder decoder;
    Document document;
    Encoder encoder;
    Encoded encoded;
    Time("decode", [&] { Must(decoder.Decode(bytes(), options_, &document)); });
    Time("encode", [&] {
      if (!encoder.Encode(document, document.root(), encode_, &encoded).ok()) Die("encode");
    });
    if (encoded.stream != stream_) Die("what was encoded is not what was decoded");
    for (size_t i = 0; i < buffers_.size(); ++i) {
      if (encoded.buffers[i].data() != buffers_[i].data()) Die("a buffer was copied");
    }
    Time("globals", [&] {
      if (!FindGlobals(bytes()).status.ok()) Die("globals");
    });
    SetMemoryCold(true);
    Time("decode cold", [&] { Must(codec::Decode(bytes(), options_)); });
    Time("encode cold", [&] { Must(codec::Encode(document, document.root(), encode_)); });
    SetMemoryCold(false);
  }
  template <class T>
  void Typed() {
    if constexpr (kReadsDirectly<T>) {
      if (!internal::LoadDirect<T>(bytes(), options_)) Die("not read directly");
    }
    Time("typed", [&] { Must(Loads<T>(bytes(), buffers_)); });
    const T object = Must(Loads<T>(bytes(), buffers_));
    Time("typed dumps", [&] { Must(Dumps(object)); });
    SetMemoryCold(true);
    Time("typed cold", [&] { Must(Loads<T>(bytes(), buffers_)); });
    SetMemoryCold(false);
  }

 private:
  ByteSpan bytes() const { return AsBytes(stream_); }
  // The median of rounds of calls that take long enough for the clock.
  template <class F>
  void Time(const char* way, F call) {
    constexpr double kRound = 20e-6;
    call();
    std::vector<double> rounds;
    size_t calls = 1;
    for (const double end = Now() + seconds_; rounds.size() < 3 || Now() < end;) {
      const double start = Now();
      for (size_t i = 0; i < calls; ++i) call();
      const double took = Now() - start;
      if (took < kRound) {
        calls *= 2;
        continue;
      }
      rounds.push_back(took / static_cast<double>(calls));
    }
    std::ranges::nth_element(rounds, rounds.begin() + static_cast<ptrdiff_t>(rounds.size() / 2));
    std::printf("%s %.9g\n", way, rounds[rounds.size() / 2]);
  }

  const std::string stream_;
  const double seconds_;
  std::vector<Buffer> buffers_;
  DecodeOptions options_;
  EncodeOptions encode_;
};

void Run(Turn turn, const std::string& name) {
  turn.Values();
  if (name == "floats") turn.Typed<std::vector<double>>();
  if (name == "ints") turn.Typed<std::vector<int64_t>>();
  if (name == "strings") turn.Typed<std::vector<std::string>>();
  if (name == "tuples") turn.Typed<std::vector<std::pair<int64_t, std::string>>>();
  if (name == "pairs") turn.Typed<std::vector<std::pair<int64_t, double>>>();
  if (name == "dict") turn.Typed<std::unordered_map<std::string, int64_t>>();
  if (name == "instances") turn.Typed<std::vector<Point>>();
  if (name == "records") turn.Typed<std::vector<Row>>();
  if (name == "array") turn.Typed<ArrayView<const double>>();
  if (name == "arrays") turn.Typed<std::vector<ArrayView<const double>>>();
}

}  // namespace
}  // namespace pannier::codec

int main(int argc, char** argv) {
  using namespace pannier::codec;  // NOLINT: a program of one file
  if (argc != 2) Die("usage: codec_times FOLDER");
  SetMemoryCold(false);
  std::string name;
  size_t buffers;
  size_t size;
  double milliseconds;
  while (std::cin >> name >> buffers >> size >> milliseconds) {
    std::ifstream file(std::string(argv[1]) + "/" + name, std::ios::binary);
    std::string stream{std::istreambuf_iterator<char>(file), {}};
    if (stream.empty()) Die("there is no stream " + name);
    Run(Turn(std::move(stream), buffers, size, 1e-3 * milliseconds), name);
    std::printf("\n");
    std::fflush(stdout);
  }
}
