// Convolutions of the active pixels, and chains of them.

#include "convolve.h"

#if defined(__AVX512FP16__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

namespace nansurfer {
namespace {

// BLOCK output channels by VECTORS vectors of pixels are summed up in registers. That many sums hide the latency of
// the multiply-add, and each load serves two multiply-adds or more, of which a core can do as many as loads.
constexpr int VECTORS = 3;

// What follows a convolution, for `rows` rows of COUNT vectors of an output channel.
template <int COUNT>
void write(const Convolution& conv, int64_t y, int rows, int64_t x, int c, vec (*values)[COUNT]) {
    const vec bias = all(conv.bias[c]);
    const real* competitor = conv.competitor.data ? conv.competitor.at(y, c) + x : nullptr;
    for (int row = 0; row < rows; ++row) {
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; ++v) {
            values[row][v] += bias;
            if (competitor) values[row][v] = larger(load(competitor + v * LANES), values[row][v]);
        }
        if (competitor) competitor += conv.competitor.row;
    }
    for (const Output& output : conv.outputs) output.put(y, rows, c, x, values);
}

// Adds the products of `taps` neighbouring vectors of pixels, each by the next BLOCK weights.
template <int COUNT>
inline void multiply_add(const real* pixels, const weight* weights, int taps, vec (&sums)[BLOCK][COUNT]) {
    for (int tap = 0; tap < taps; ++tap, ++pixels, weights += BLOCK) {
        vec values[COUNT];
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; ++v) values[v] = load(pixels + v * LANES);
#pragma GCC unroll 8
        for (int k = 0; k < BLOCK; ++k) {
#pragma GCC unroll 8
            for (int v = 0; v < COUNT; ++v) sums[k][v] += values[v] * spread(weights[k]);
        }
    }
}

// A copy to be indexed, so that the sums themselves stay in registers.
template <int COUNT>
inline void keep(const vec (&sums)[BLOCK][COUNT], vec (&kept)[BLOCK][COUNT]) {
#pragma GCC unroll 8
    for (int k = 0; k < BLOCK; ++k) {
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; ++v) kept[k][v] = sums[k][v];
    }
}

// Calls use(x, COUNT) for the vectors of a run, COUNT at a time, which is a constant of the type.
template <class Use>
void for_each_vectors(Run run, Use use) {
    for (int64_t x = run.start; x < run.stop;) {
        const int64_t vectors = (run.stop - x + LANES - 1) / LANES;
        if (vectors == 1) {
            use(x, std::integral_constant<int, 1>());
            x += LANES;
        } else if (vectors == 2 || vectors == 4) {  // four are two and two: one alone has too few sums
            use(x, std::integral_constant<int, 2>());
            x += 2 * LANES;
        } else {
            use(x, std::integral_constant<int, VECTORS>());
            x += VECTORS * LANES;
        }
    }
}

// One block of output channels at COUNT vectors of pixels of a row.
template <int COUNT>
void convolve_block(const Convolution& conv, int64_t y, int64_t x, int first) {
    const int radius = conv.kernel / 2;
    const weight* weights = conv.weights + int64_t(first) * conv.channels_in * conv.kernel * conv.kernel;
    vec sums[BLOCK][COUNT] = {};
    for (int c = 0; c < conv.channels_in; ++c) {
        for (int v = 0; v < COUNT && first == 0; ++v) prefetch(conv.input.at(y + radius + 1, c) + x + v * LANES);
        for (int dy = -radius; dy <= radius; ++dy, weights += conv.kernel * BLOCK)
            multiply_add(conv.input.at(y + dy, c) + x - radius, weights, conv.kernel, sums);
    }
    vec finished[BLOCK][COUNT];
    keep(sums, finished);
    for (int k = 0; k < std::min(BLOCK, conv.channels_out - first); ++k)
        write<COUNT>(conv, y, 1, x, first + k, &finished[k]);
}

void convolve_row(const Convolution& conv, int64_t y) {
    for (const Run* run = conv.compute.begin(y); run < conv.compute.end(y); ++run)
        for_each_vectors(*run, [&](int64_t x, auto count) {
            for (int first = 0; first < conv.channels_out; first += BLOCK)
                convolve_block<decltype(count)::value>(conv, y, x, first);
        });
}

// 3x3 kernels: Winograd's minimal filtering F(4, 3) down the columns (Lavin and Gray, "Fast Algorithms for Convolutional
// Neural Networks", 2016). STRIP rows of output are made of TRANSFORMED rows that are made of as many rows of input:
// six multiply-adds for each column of the kernel in place of twelve. Columns never mix. Rows that are equal stay equal to
// the last bit, since differences are taken first: poolings take the first of equal values.
constexpr int TRANSFORMED = STRIP + 2;

// A run of a strip's input, transformed: [transformed row][channel][column], from column `first` on.
struct Transformed {
    const real* data;
    int64_t row, channel, first;
};

// Transforms what a run of the strip from row y on reads.
Transformed transform(const Convolution& conv, int64_t y, int64_t height, Run run) {
    static thread_local std::vector<vec> memory;
    const int64_t first = run.start - LANES;  // so that the run itself begins with a cache line
    const int64_t lines = (run.stop - first) / LANES + 1, odd = lines | 1, channel = odd * LANES;
    const int64_t row = channel * conv.channels_in;
    const int64_t vectors = TRANSFORMED * row / LANES + 1;  // the last of a run reads a column more
    if (int64_t(memory.size()) < vectors) memory.resize(vectors);
    real* const data = reinterpret_cast<real*>(memory.data());
    for (int c = 0; c < conv.channels_in; ++c) {
        const real* from[TRANSFORMED];
        for (int i = 0; i < TRANSFORMED; ++i)  // below the image there is one row of zeros
            from[i] = conv.input.at(std::min(y + i - 1, height), c) + first;
        real *to = data + c * channel, *second_half = to + 3 * row;
        for (int64_t x = 0; x < lines * LANES; x += LANES, to += LANES, second_half += LANES) {
            vec d[TRANSFORMED];
            for (int i = 0; i < TRANSFORMED; ++i) d[i] = load(from[i] + x);
            const vec a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], e = d[4] - d[2], f = 2 * (d[3] - d[1]);
            store(to, 4 * (d[0] - d[2]) - (d[2] - d[4]));
            store(to + row, a + b);
            store(to + 2 * row, a - b);
            store(second_half, e + f);
            store(second_half + row, e - f);
            store(second_half + 2 * row, 4 * (d[1] - d[3]) - (d[3] - d[5]));
        }
    }
    return {data, row, channel, first};
}

// One block of output channels at COUNT vectors of pixels of a strip.
template <int COUNT>
void convolve_block(const Convolution& conv, const Transformed& input, int64_t y, int rows, int64_t x, int first) {
    const weight* weights = conv.weights + int64_t(first) * conv.channels_in * TRANSFORMED * 3;
    vec products[TRANSFORMED][BLOCK][COUNT];
    for (int i = 0; i < TRANSFORMED; ++i) {
        const real* pixels = input.data + i * input.row + x - 1 - input.first;
        vec sums[BLOCK][COUNT] = {};
        for (int c = 0; c < conv.channels_in; ++c, pixels += input.channel, weights += 3 * BLOCK)
            multiply_add(pixels, weights, 3, sums);
        keep(sums, products[i]);
    }
    for (int k = 0; k < std::min(BLOCK, conv.channels_out - first); ++k) {
        vec values[STRIP][COUNT];
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; ++v) {
            vec m[TRANSFORMED];
            for (int i = 0; i < TRANSFORMED; ++i) m[i] = products[i][k][v];
            const vec a = m[1] + m[2], b = m[1] - m[2], e = m[3] + m[4], f = m[3] - m[4];
            values[0][v] = m[0] + a + e;
            values[1][v] = b + 2 * f;
            values[2][v] = a + 4 * e;
            values[3][v] = b + 8 * f + m[5];
        }
        write<COUNT>(conv, y, rows, x, first + k, values);
    }
}

void convolve_strip(const Convolution& conv, int64_t y, int64_t height) {
    const int rows = int(std::min<int64_t>(STRIP, height - y));
    for (const Run* run = conv.compute.begin(y / STRIP); run < conv.compute.end(y / STRIP); ++run) {
        const Transformed input = transform(conv, y, height, *run);
        for_each_vectors(*run, [&](int64_t x, auto count) {
            for (int first = 0; first < conv.channels_out; first += BLOCK)
                convolve_block<decltype(count)::value>(conv, input, y, rows, x, first);
        });
    }
}

void fill_halos(const Convolution& conv, int64_t y) {
    for (const Halo& halo : conv.halos) {
        if (!halo.channels) continue;  // there is a second one only for concatenations
        for (const Run* run = halo.runs.begin(y); run < halo.runs.end(y); ++run)
            conv.blank.copy(conv.input, y, *run, halo.channel, halo.channels);
    }
}

// Sets the `count` rows from y on to zero, which lie outside the image, where others may have lain in a ring.
void clear_rows(const Map& ring, int64_t y, int count, int channels) {
    for (int row = 0; row < count; ++row)
        std::memset(ring.at(y + row, 0), 0, ring.channel * channels * sizeof(real));
}

// How far a convolution of a chain has come: rows of its input with their halos, rows of its output.
struct Progress {
    int filled = 0, finished = 0;
};

// Computes the rows that `rows` rows of the input suffice for, at most a strip; returns the number finished so far.
int advance(const Convolution& conv, int height, int rows, Progress& progress) {
    for (; progress.filled < rows; ++progress.filled) fill_halos(conv, progress.filled);
    const int together = rows_together(conv.kernel), enough = (rows - conv.kernel / 2) / together * together;
    const int stop = std::min(progress.finished + STRIP, rows == height ? height : enough);
    for (; progress.finished < stop; progress.finished = std::min(height, progress.finished + together)) {
        if (together == STRIP)
            convolve_strip(conv, progress.finished, height);
        else
            convolve_row(conv, progress.finished);
    }
    return progress.finished;
}

}  // namespace
}  // namespace nansurfer

using namespace nansurfer;

NANSURFER_EXPORT int32_t block() { return BLOCK; }

// Whether this processor can run a library of this kind; that it can run the one for float32 is known elsewhere.
NANSURFER_EXPORT int32_t runs_here() {
#if defined(NANSURFER_HALF) && defined(__AVX512FP16__)
    unsigned eax, ebx, ecx, edx = 0;  // older compilers cannot be asked for it by name
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && edx >> 23 & 1;
#else
    return 1;
#endif
}

NANSURFER_EXPORT int32_t sources() { return NANSURFER_SOURCES; }

// Up to four convolutions of which each reads what the one before wrote. Each follows a few rows behind, so that rows
// are read while they are in the cache, and what lies between two of them needs room for a few rows only: they compute
// STRIP rows in turn.
NANSURFER_EXPORT void convolve(const Convolution* convs, int32_t count, int32_t height) {
    Progress progress[4];
    for (int k = 1; k < count; ++k) {
        const int radius = convs[k].kernel / 2;
        clear_rows(convs[k].input, -radius, radius, convs[k].channels_in);
    }
    for (int rows = 0; progress[count - 1].finished < height;) {
        rows = std::min(height, rows + STRIP);
        for (int k = 0, ready = rows; k < count; ++k) {
            if (k > 0 && ready == height && progress[k].filled < height)
                clear_rows(convs[k].input, height, convs[k].kernel / 2, convs[k].channels_in);
            ready = advance(convs[k], height, ready, progress[k]);
        }
    }
}
