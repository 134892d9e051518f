// What the kernels share: vectors, feature maps in memory, runs of pixels.
//
// A feature map is float32 [row][channel][column]. Vector lanes run over the columns of a row, so that no number of
// channels wastes any. Around the image lie zeros, which are the convolutions' padding, and to its right there is room
// for what the last vector of a run spills. nansurfer/engine/maps.py makes such maps; nansurfer/engine/native.py
// mirrors the structs.
//
// Kernels compute runs of valid pixels only. What lies elsewhere in a map is garbage, which nobody reads.

#pragma once

#include <cstdint>

#define NANSURFER_EXPORT extern "C" __attribute__((visibility("default")))

namespace nansurfer {

#if defined(__AVX512F__)
constexpr int LANES = 16, BLOCK = 8;  // 32 registers of 16 lanes
#define NANSURFER_LANE_NUMBERS {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#elif defined(__AVX2__)
constexpr int LANES = 8, BLOCK = 4;  // 16 registers of 8 lanes
#define NANSURFER_LANE_NUMBERS {0, 1, 2, 3, 4, 5, 6, 7}
#else
constexpr int LANES = 4, BLOCK = 8;  // NEON: 32 registers of 4 lanes
#define NANSURFER_LANE_NUMBERS {0, 1, 2, 3}
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float unaligned_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

inline vec load(const float* from) { return *reinterpret_cast<const unaligned_vec*>(from); }
inline void store(float* to, vec value) { *reinterpret_cast<unaligned_vec*>(to) = value; }
inline vec larger(vec a, vec b) { return a > b ? a : b; }
inline vec all(float value) { return value - vec{}; }

// For what is needed one row later. The streams are too many, and too far apart, for the processor to foresee.
inline void prefetch(const float* at) { __builtin_prefetch(at); }

struct Map {
    float* data;  // row 0, channel 0, column 0 of the image
    int64_t row;  // floats from one row to the next
    int64_t channel;

    float* at(int64_t y, int64_t c) const { return data + y * row + c * channel; }
};

struct Run {
    int16_t start, stop;  // columns
};

// The runs of row y are runs[first[y]] to runs[first[y + 1] - 1]. A kernel may go on behind a run to the end of the
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

    void put(int64_t y, int64_t c, int64_t x, vec value) const {
        if (!map.data) return;
        if (positive) value = value * (value > vec{} ? all(positive[c]) : all(negative[c])) + shift[c];
        store(map.at(y, c) + x, value);
        prefetch(map.at(y + 1, c) + x);
    }
};

// Copies the columns of a run of a row from one map to another, in some channels.
inline void copy_run(const Map& from, const Map& to, int64_t y, Run run, int channel, int channels) {
    const ivec lane = NANSURFER_LANE_NUMBERS;
    for (int x = run.start; x < run.stop; x += LANES) {
        const ivec inside = lane < run.stop - x;
        const int64_t next_source = from.channel, next_target = to.channel;
        const float* source = from.at(y, channel) + x;
        float* target = to.at(y, channel) + x;
        for (int c = 0; c < channels; ++c, source += next_source, target += next_target)
            store(target, inside ? load(source) : load(target));
    }
}

}  // namespace nansurfer
