// What the kernels share: vectors, feature maps in memory, runs of pixels.
//
// A feature map is `real` [row][channel][column]: float32, or float16 in a library that is compiled for it, where the
// processor computes twice as many of them at once. Vector lanes run over the columns of a row, so that no number of
// channels wastes any. Around the image lie zeros, which are the convolutions' padding, and to its right there is room
// for what the last vector of a run spills. nansurfer/engine/maps.py makes such maps; nansurfer/engine/native.py
// mirrors the structs.
//
// Kernels compute runs of valid pixels only. What lies elsewhere in a map is garbage, which nobody reads.

#pragma once

#include <cstdint>
#include <utility>

#define NANSURFER_EXPORT extern "C" __attribute__((visibility("default")))

#if defined(__clang__)
#define NANSURFER_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define NANSURFER_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, ivec{__VA_ARGS__})
#endif

namespace nansurfer {

#if defined(NANSURFER_HALF)
typedef _Float16 real;
typedef int16_t whole;  // an integer of the same size
#else
typedef float real;
typedef int32_t whole;
#endif

#if defined(__AVX512F__) && !defined(NANSURFER_NARROW)
#define NANSURFER_WIDE  // vectors of 512 bits
constexpr int VECTOR_BYTES = 64, BLOCK = 8;  // 32 registers
#elif defined(__AVX512F__)
constexpr int VECTOR_BYTES = 32, BLOCK = 8;  // 32 registers
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32, BLOCK = 4;  // 16 registers
#else
constexpr int VECTOR_BYTES = 16, BLOCK = 8;  // NEON: 32 registers
#endif
constexpr int LANES = VECTOR_BYTES / sizeof(real);

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef real unaligned_vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
typedef whole ivec __attribute__((vector_size(VECTOR_BYTES)));

inline vec load(const real* from) { return *reinterpret_cast<const unaligned_vec*>(from); }
inline void store(real* to, vec value) { *reinterpret_cast<unaligned_vec*>(to) = value; }
inline vec larger(vec a, vec b) { return a > b ? a : b; }  // b if either is NaN
inline vec all(float value) { return real(value) - vec{}; }

// A weight as it lies in memory. A float16 lies there twice, for processors spread 32 bits over a vector at no cost, but
// not 16.
#if defined(NANSURFER_HALF)
typedef uint32_t weight;
#else
typedef float weight;
#endif
inline vec spread(weight value) {
    typedef weight weights __attribute__((vector_size(VECTOR_BYTES)));
    return (vec)(value - weights{});
}

// The first `count` lanes.
inline ivec first_lanes(int count) {
    ivec numbers;
    for (int i = 0; i < LANES; ++i) numbers[i] = whole(i);
    return numbers < whole(count) - ivec{};
}

constexpr int PAIR = 2;  // columns

struct Pair {
    vec first, second;
};

constexpr std::make_integer_sequence<int, LANES> lanes;

// Every second pixel of two vectors, from the first or the second on.
template <int FIRST, int... LANE>
inline vec every_second(vec a, vec b, std::integer_sequence<int, LANE...>) {
    return NANSURFER_SHUFFLE(a, b, (FIRST + PAIR * LANE)...);
}

// Pixels of two vectors in turn, from pixel FIRST of each on.
template <int FIRST, int... LANE>
inline vec from_both(vec a, vec b, std::integer_sequence<int, LANE...>) {
    return NANSURFER_SHUFFLE(a, b, (FIRST + LANE / PAIR + LANE % PAIR * LANES)...);
}

template <int... LANE>
inline vec shifted(vec a, vec b, std::integer_sequence<int, LANE...>) {
    return NANSURFER_SHUFFLE(a, b, (1 + LANE)...);
}

// Pixels of even columns, and of odd columns, of twice LANES.
inline Pair columns(const real* row) {
    const vec a = load(row), b = load(row + LANES);
    return {every_second<0>(a, b, lanes), every_second<1>(a, b, lanes)};
}

// Twice LANES pixels, of which `even` and `odd` are every second.
inline Pair in_turn(vec even, vec odd) {
    return {from_both<0>(even, odd, lanes), from_both<LANES / PAIR>(even, odd, lanes)};
}

// Each pixel's neighbour on the right; `next` goes on where `vector` ends.
inline vec following(vec vector, vec next) { return shifted(vector, next, lanes); }

// For what is needed a row or two channels later. The streams are too many, and too far apart, for the processor to foresee.
inline void prefetch(const void* at) { __builtin_prefetch(at); }

// 3x3 convolutions in float32 compute strips of STRIP rows, and of these the pixels of all that is valid in any.
constexpr int STRIP = 4;

// Rows that a convolution with a kernel of this side computes together.
inline int rows_together(int kernel) { return kernel == 3 && sizeof(real) == 4 ? STRIP : 1; }

struct Map {
    real* data;   // row 0, channel 0, column 0 of the image
    int64_t row;  // numbers from one row to the next
    int64_t channel;
    int64_t ring;  // row y lies in place y & ring: for so many rows there is room, less one; -1: for all

    real* at(int64_t y, int64_t c) const { return data + (y & ring) * row + c * channel; }
};

struct Run {
    int16_t start, stop;  // columns
};

// The runs of row y, or of strip y, are runs[first[y]] to runs[first[y + 1] - 1]. A kernel may go on behind a run to the end of the
// last vector: pixels of the next run come out the same twice.
struct Runs {
    int32_t* first;
    Run* runs;

    const Run* begin(int64_t y) const { return runs + first[y]; }
    const Run* end(int64_t y) const { return runs + first[y + 1]; }
};

// Where values go, and what becomes of them: v * (v > 0 ? positive : negative) + shift, by channel; as they are if
// `positive` is null. Nothing is written if `map.data` is null.
struct Output {
    Map map;
    const float* positive;
    const float* negative;
    const float* shift;

    // `rows` rows of COUNT vectors of a channel.
    template <int COUNT>
    void put(int64_t y, int rows, int64_t c, int64_t x, const vec (*values)[COUNT]) const {
        if (!map.data) return;
        if (positive) {
            const vec above = all(positive[c]), below = all(negative[c]), added = all(shift[c]);
            write(y, rows, c, x, values, [&](vec value) { return value * (value > vec{} ? above : below) + added; });
        } else {
            write(y, rows, c, x, values, [](vec value) { return value; });
        }
    }

    void put(int64_t y, int64_t c, int64_t x, vec value) const {
        const vec values[1] = {value};
        put<1>(y, 1, c, x, &values);
    }

private:
    template <int COUNT, class Change>
    void write(int64_t y, int rows, int64_t c, int64_t x, const vec (*values)[COUNT], Change change) const {
        real* to = map.at(y, c) + x;
        const int64_t next = map.row;
        for (int row = 0; row < rows; ++row, to += next) {
#pragma GCC unroll 8
            for (int v = 0; v < COUNT; ++v) {
                store(to + v * LANES, change(values[row][v]));
                prefetch(to + rows * next + v * LANES);
            }
        }
    }
};

// What a map is for an empty slice. Of a row a pixel or two are read, and so all channels of a pixel lie together. Rows and
// columns that are equal may lie in one place.
struct Blank {
    const real* data;
    const int32_t *rows, *columns;  // numbers from `data` to a row, and on to a column of it

    const real* at(int64_t y, int64_t x) const { return data + rows[y] + columns[x]; }

    // Copies a run of a row to a map, in some channels.
    void copy(const Map& to, int64_t y, Run run, int channel, int channels) const {
        const int64_t next = to.channel;
        for (int x = run.start; x < run.stop; ++x) {
            const real* source = at(y, x) + channel;
            real* target = to.at(y, channel) + x;
            for (int c = 0; c < channels; ++c, target += next) *target = source[c];
        }
    }
};

}  // namespace nansurfer
