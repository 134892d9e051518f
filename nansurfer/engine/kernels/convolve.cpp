// Convolutions of the active pixels, and chains of them.

#include "convolve.h"

#include <algorithm>

namespace nansurfer {
namespace {

// BLOCK output channels by VECTORS vectors of pixels are summed up in registers. That many sums hide the latency of
// the multiply-add, and each load serves two multiply-adds or more, of which a core can do as many as loads.
constexpr int VECTORS = 3;

template <int COUNT>
void write(const Convolution& conv, int64_t y, int64_t x, int first, const vec (&sums)[BLOCK][COUNT]) {
    const int channels = std::min(BLOCK, conv.channels_out - first);
    for (int k = 0; k < channels; ++k) {
        const int c = first + k;
        for (int v = 0; v < COUNT; ++v) {
            const int64_t at = x + v * LANES;
            vec value = sums[k][v] + all(conv.bias[c]);
            if (conv.competitor.data) value = larger(load(conv.competitor.at(y, c) + at), value);
            for (const Output& output : conv.outputs) output.put(y, c, at, value);
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
        for (int dy = -radius; dy <= radius; ++dy) {
            const real* pixels = conv.input.at(y + dy, c) + x - radius;
            for (int tap = 0; tap < conv.kernel; ++tap, ++pixels, weights += BLOCK) {
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
    }
    vec finished[BLOCK][COUNT];  // a copy to be indexed, so that the sums themselves stay in registers
#pragma GCC unroll 8
    for (int k = 0; k < BLOCK; ++k) {
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; ++v) finished[k][v] = sums[k][v];
    }
    write<COUNT>(conv, y, x, first, finished);
}

template <int COUNT>
int64_t convolve_vectors(const Convolution& conv, int64_t y, int64_t x) {
    for (int first = 0; first < conv.channels_out; first += BLOCK) convolve_block<COUNT>(conv, y, x, first);
    return x + COUNT * LANES;
}

void fill_halos(const Convolution& conv, int64_t y) {
    for (const Halo& halo : conv.halos) {
        if (!halo.channels) continue;  // there is a second one only for concatenations
        for (const Run* run = halo.runs.begin(y); run < halo.runs.end(y); ++run)
            copy_run(conv.blank, conv.input, y, *run, halo.channel, halo.channels);
    }
}

// How far a convolution of a chain has come: rows of its input with their halos, rows of its output.
struct Progress {
    int filled = 0, finished = 0;
};

// Computes all rows that `rows` rows of the input suffice for; returns the number of rows finished so far.
int advance(const Convolution& conv, int height, int rows, Progress& progress) {
    for (; progress.filled < rows; ++progress.filled) fill_halos(conv, progress.filled);
    const int stop = rows == height ? height : rows - conv.kernel / 2;
    for (; progress.finished < stop; ++progress.finished) convolve_row(conv, progress.finished);
    return progress.finished;
}

}  // namespace

void convolve_row(const Convolution& conv, int64_t y) {
    for (const Run* run = conv.compute.begin(y); run < conv.compute.end(y); ++run) {
        for (int64_t x = run->start; x < run->stop;) {
            const int64_t vectors = (run->stop - x + LANES - 1) / LANES;
            if (vectors == 1)
                x = convolve_vectors<1>(conv, y, x);
            else if (vectors == 2 || vectors == 4)  // four are two and two: one alone has too few sums
                x = convolve_vectors<2>(conv, y, x);
            else
                x = convolve_vectors<VECTORS>(conv, y, x);
        }
    }
}

}  // namespace nansurfer

using namespace nansurfer;

NANSURFER_EXPORT int32_t block() { return BLOCK; }

// Whether this processor can run a library of this kind; that it can run the one for float32 is known elsewhere.
NANSURFER_EXPORT int32_t runs_here() {
#if defined(NANSURFER_HALF) && defined(__AVX512FP16__)
    return __builtin_cpu_supports("avx512fp16") != 0;
#else
    return 1;
#endif
}

NANSURFER_EXPORT int32_t sources() { return NANSURFER_SOURCES; }

// Up to four convolutions of which each reads what the one before wrote. Each follows a few rows behind, so that rows
// are read while they are in the cache, and a map may hold the input of one convolution and the output of the next.
NANSURFER_EXPORT void convolve(const Convolution* convs, int32_t count, int32_t height, int32_t strip) {
    Progress progress[4];
    for (int rows = 0; progress[count - 1].finished < height;) {
        rows = std::min(height, rows + strip);
        for (int k = 0, ready = rows; k < count; ++k) ready = advance(convs[k], height, ready, progress[k]);
    }
}
