// Convolutions of the active pixels, and chains of them.

#include "convolve.h"

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

// How many vectors of `width` columns a run takes.
inline int64_t vectors_of(Run run, int64_t width) { return (run.stop - run.start + width - 1) / width; }

// Calls use(x, COUNT) for the vectors of a run, each of `width` columns, COUNT at a time, which is a constant of the type.
template <class Use>
void for_each_vectors(Run run, int64_t width, Use use) {
    int64_t x = run.start;
    for (int64_t vectors = vectors_of(run, width); vectors > 0;) {
        if (vectors == 1) {
            use(x, std::integral_constant<int, 1>());
            break;
        }
        if (vectors == 2 || vectors == 4) {  // four are two and two: one alone has too few sums
            use(x, std::integral_constant<int, 2>());
            x += 2 * width, vectors -= 2;
        } else {
            use(x, std::integral_constant<int, VECTORS>());
            x += VECTORS * width, vectors -= VECTORS;
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
        for_each_vectors(*run, LANES, [&](int64_t x, auto count) {
            for (int first = 0; first < conv.channels_out; first += BLOCK)
                convolve_block<decltype(count)::value>(conv, y, x, first);
        });
}

// 3x3 kernels: Winograd's minimal filtering, F(4, 3) down the columns and F(2, 3) along the rows (Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2016). STRIP rows of PAIR columns are made of 6x4 products where 8x9 would be
// multiplied. The lanes of a vector are neighbouring pairs of columns. An output is made of its own window and nothing else
// along the row, so that what is not valid beside it does not matter. Runs begin in even columns, so that a pixel comes out
// the same wherever its run begins. Where all columns, or all six rows, are equal, the outputs are too, to the last bit, since
// differences are taken first: poolings take the first of equal values.
constexpr int TRANSFORMED_ROWS = STRIP + 2, TRANSFORMED_COLUMNS = PAIR + 2;

// A run of a strip's input, transformed: [transformed row][transformed column][channel][pair of columns].
struct Transformed {
    const real* data;
    int64_t plane, channel;
};

// Six rows of LANES columns, transformed down the columns.
inline void transform_down(const real* const (&from)[TRANSFORMED_ROWS], int64_t x, real* to, int64_t row) {
    vec d[TRANSFORMED_ROWS];
    for (int i = 0; i < TRANSFORMED_ROWS; ++i) d[i] = load(from[i] + x);
    const vec a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], e = d[4] - d[2], f = 2 * (d[3] - d[1]);
    store(to, 4 * (d[0] - d[2]) - (d[2] - d[4]));
    store(to + row, a + b);
    store(to + 2 * row, a - b);
    store(to + 3 * row, e + f);
    store(to + 4 * row, e - f);
    store(to + 5 * row, 4 * (d[1] - d[3]) - (d[3] - d[5]));
}

// `vectors` times LANES pairs of columns of a row, transformed along it, to as many vectors of each transformed column.
inline void transform_along(const real* row, int64_t vectors, real* to, int64_t plane) {
    Pair next = columns(row);
    for (int64_t v = 0; v < vectors; ++v, to += LANES) {
        const Pair d = next;
        next = columns(row += 2 * LANES);
        const vec third = following(d.first, next.first), fourth = following(d.second, next.second);
        store(to, d.first - third);
        store(to + plane, d.second + third);
        store(to + 2 * plane, third - d.second);
        store(to + 3 * plane, d.second - fourth);
    }
}

// Transforms what a run of the strip from row y on reads.
Transformed transform(const Convolution& conv, int64_t y, int64_t height, Run run) {
    static thread_local std::vector<vec> memory;
    const int64_t vectors = vectors_of(run, PAIR * LANES), lines = PAIR * (vectors + 1), row = (lines | 1) * LANES;
    const int64_t channel = vectors * LANES, plane = (vectors * conv.channels_in | 1) * LANES;  // odd numbers of lines
    const int64_t needed = TRANSFORMED_ROWS * (row + TRANSFORMED_COLUMNS * plane) / LANES;
    if (int64_t(memory.size()) < needed) memory.resize(needed);
    real *const down = reinterpret_cast<real*>(memory.data()), *const data = down + TRANSFORMED_ROWS * row;
    for (int c = 0; c < conv.channels_in; ++c) {
        const real* from[TRANSFORMED_ROWS];
        for (int i = 0; i < TRANSFORMED_ROWS; ++i)  // below the image there is one row of zeros
            from[i] = conv.input.at(std::min(y + i - 1, height), c) + run.start - 1;
        for (int64_t x = 0; x < lines * LANES; x += LANES) {
            for (const real* line : from) prefetch(line + 2 * conv.input.channel + x);  // of the channel after the next
            transform_down(from, x, down + x, row);
        }
        for (int i = 0; i < TRANSFORMED_ROWS; ++i)
            transform_along(down + i * row, vectors, data + i * TRANSFORMED_COLUMNS * plane + c * channel, plane);
    }
    return {data, plane, channel};
}

// One block of output channels at COUNT vectors of pairs of columns of a strip, the first of which is at `pair` of the run.
template <int COUNT>
void convolve_block(const Convolution& conv, const Transformed& input, int64_t y, int rows, int64_t x, int64_t pair,
                    int first) {
    constexpr int PLANES = TRANSFORMED_ROWS * TRANSFORMED_COLUMNS;
    const weight* weights = conv.weights + int64_t(first) * conv.channels_in * PLANES;
    const real* plane = input.data + pair;
    vec products[TRANSFORMED_ROWS][PAIR][BLOCK][COUNT];
    for (auto& of_row : products) {
        vec planes[TRANSFORMED_COLUMNS][BLOCK][COUNT];
        for (auto& product : planes) {
            const real* pixels = plane;
            vec sums[BLOCK][COUNT] = {};
            for (int c = 0; c < conv.channels_in; ++c, pixels += input.channel, weights += BLOCK)
                multiply_add(pixels, weights, 1, sums);
            keep(sums, product);
            plane += input.plane;
        }
        for (int k = 0; k < BLOCK; ++k) {
#pragma GCC unroll 8
            for (int v = 0; v < COUNT; ++v) {
                of_row[0][k][v] = planes[0][k][v] + planes[1][k][v] + planes[2][k][v];
                of_row[1][k][v] = planes[1][k][v] - planes[2][k][v] - planes[3][k][v];
            }
        }
    }
    for (int k = 0; k < std::min(BLOCK, conv.channels_out - first); ++k) {
        vec values[STRIP][PAIR * COUNT];
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; ++v) {
            vec o[STRIP][PAIR];
            for (int column = 0; column < PAIR; ++column) {
                vec m[TRANSFORMED_ROWS];
                for (int i = 0; i < TRANSFORMED_ROWS; ++i) m[i] = products[i][column][k][v];
                const vec a = m[1] + m[2], b = m[1] - m[2], e = m[3] + m[4], f = m[3] - m[4];
                o[0][column] = m[0] + a + e;
                o[1][column] = b + 2 * f;
                o[2][column] = a + 4 * e;
                o[3][column] = b + 8 * f + m[5];
            }
            for (int row = 0; row < STRIP; ++row) {
                const Pair both = in_turn(o[row][0], o[row][1]);
                values[row][PAIR * v] = both.first;
                values[row][PAIR * v + 1] = both.second;
            }
        }
        write<PAIR * COUNT>(conv, y, rows, x, first + k, values);
    }
}

void convolve_strip(const Convolution& conv, int64_t y, int64_t height) {
    const int rows = int(std::min<int64_t>(STRIP, height - y));
    for (const Run* found = conv.compute.begin(y / STRIP); found < conv.compute.end(y / STRIP); ++found) {
        const Run run = {int16_t(found->start & ~1), found->stop};  // a column in front is written too, which is not valid
        const Transformed input = transform(conv, y, height, run);
        for_each_vectors(run, PAIR * LANES, [&](int64_t x, auto count) {
            for (int first = 0; first < conv.channels_out; first += BLOCK)
                convolve_block<decltype(count)::value>(conv, input, y, rows, x, (x - run.start) / PAIR, first);
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

// One of `parts` parts of a convolution whose input lies in its map as a whole; threads may compute them at a time.
NANSURFER_EXPORT void convolve_part(const Convolution* conv, int32_t part, int32_t parts, int32_t height) {
    const int strips = (height + STRIP - 1) / STRIP;
    const int first = strips * part / parts * STRIP, stop = std::min(height, strips * (part + 1) / parts * STRIP);
    Progress progress = {std::max(0, first - conv->kernel / 2), first};
    while (progress.finished < stop) advance(*conv, height, std::min(height, stop + STRIP), progress);
}
