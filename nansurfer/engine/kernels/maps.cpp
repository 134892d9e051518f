// What happens between the blocks: the network's input, pooling, unpooling.

#include <initializer_list>
#include <limits>

#include "kernels.h"

namespace nansurfer {
namespace {

typedef uint8_t bytes __attribute__((vector_size(LANES)));
typedef uint8_t unaligned_bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

// The largest of each 2x2 window; its position in the window, 0 to 3, goes to `positions`. The first of equal ones.
vec pool_windows(const real* top, const real* bottom, uint8_t* positions) {
    const Pair above = columns(top), below = columns(bottom);
    const ivec right_above = above.second > above.first, right_below = below.second > below.first;  // true is -1
    const vec upper = larger(above.second, above.first), lower = larger(below.second, below.first);
    const ivec position = lower > upper ? whole(2) - right_below : -right_above;
    *reinterpret_cast<unaligned_bytes*>(positions) = __builtin_convertvector(position, bytes);
    return larger(lower, upper);
}

// One row of unpooled windows, twice LANES pixels: a value where its position is `position`, or `position` + 1 for the
// pixel on the right; else 0.
Pair unpool_windows(const real* pooled, const uint8_t* positions, int position) {
    const vec value = load(pooled);
    const bytes at = *reinterpret_cast<const unaligned_bytes*>(positions);
    const ivec column = __builtin_convertvector(at, ivec) - whole(position);
    const vec left = column == 0 ? value : vec{}, right = column == 1 ? value : vec{};
    return in_turn(left, right);
}

}  // namespace

struct Positions {
    uint8_t* data;
    int64_t row, channel;

    uint8_t* at(int64_t y, int64_t c) const { return data + y * row + c * channel; }
};

struct Pooling {
    Map input;
    Map pooled;  // written by pooling, read by unpooling
    Positions positions;
    Output outputs[2];
    Runs compute;  // pixels of the outputs
    Runs holes;    // pixels of the pooling's input that are not valid, in windows that others are valid in
    Runs ring;     // pixels of windows without valid ones that are pooled all the same
    Blank blank;   // what the input is there
    int32_t channels, height;
};

namespace {

void compete(const Pooling& p, int64_t y, int64_t c, int64_t x, vec unpooled) {
    const vec value = larger(load(p.input.at(y, c) + x), unpooled);
    prefetch(p.input.at(y + 1, c) + x);
    for (const Output& output : p.outputs) output.put(y, c, x, value);
}

}  // namespace
}  // namespace nansurfer

using namespace nansurfer;

// A slice (channels, height, width), as the output transforms it.
NANSURFER_EXPORT void enter(const uint8_t* slice, const Output* output, const Runs* compute, int32_t channels,
                            int32_t height, int32_t width) {
    for (int y = 0; y < height; ++y) {
        for (int c = 0; c < channels; ++c) {
            const uint8_t* from = slice + (int64_t(c) * height + y) * width;
            real* to = output->map.at(y, c);
            for (const Run* run = compute->begin(y); run < compute->end(y); ++run)
                for (int x = run->start; x < run->stop; ++x)
                    to[x] = real(from[x] * output->positive[c] + output->shift[c]);
        }
    }
}

// 2x2 max pooling of the valid values; writes positions, and the largest values to the outputs.
NANSURFER_EXPORT void pool(const Pooling* pooling) {
    const Pooling& p = *pooling;
    for (int y = 0; y < p.height; ++y) {
        for (int64_t from : {2 * y, 2 * y + 1})
            for (const Run* run = p.ring.begin(from); run < p.ring.end(from); ++run)
                p.blank.copy(p.input, from, *run, 0, p.channels);
        for (int c = 0; c < p.channels; ++c) {
            for (int64_t from : {2 * y, 2 * y + 1})
                for (const Run* hole = p.holes.begin(from); hole < p.holes.end(from); ++hole)
                    for (int x = hole->start; x < hole->stop; ++x)
                        p.input.at(from, c)[x] = real(-std::numeric_limits<float>::infinity());
            for (const Run* run = p.compute.begin(y); run < p.compute.end(y); ++run) {
                for (int x = run->start; x < run->stop; x += LANES) {
                    const real* top = p.input.at(2 * y, c) + 2 * x;
                    const vec largest = pool_windows(top, top + p.input.row, p.positions.at(y, c) + x);
                    for (int ahead = 0; ahead < 4; ++ahead)
                        prefetch(p.input.at(2 * y + 2 + ahead / 2, c) + 2 * x + ahead % 2 * LANES);
                    for (const Output& output : p.outputs) output.put(y, c, x, largest);
                }
            }
        }
    }
}

// Max unpooling, maxout with `input` (the encoder's features), to the outputs.
NANSURFER_EXPORT void unpool(const Pooling* pooling) {
    const Pooling& p = *pooling;
    for (int y = 0; y < p.height; ++y) {
        for (int c = 0; c < p.channels; ++c) {
            for (const Run* run = p.compute.begin(y); run < p.compute.end(y); ++run) {
                // Whole windows: a pixel in front of the run is written too, which is not valid.
                for (int x = run->start & ~1; x < run->stop; x += 2 * LANES) {
                    const Pair row =
                        unpool_windows(p.pooled.at(y / 2, c) + x / 2, p.positions.at(y / 2, c) + x / 2, 2 * (y % 2));
                    compete(p, y, c, x, row.first);
                    if (x + LANES < run->stop) compete(p, y, c, x + LANES, row.second);
                }
            }
        }
    }
}
