// The classifier, a convolution of 1x1, and what becomes of its logits: they are added to the other views' while they
// are in the cache. Its vector lanes run over the classes, as they do in the sum, and it computes in float32 always.

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace nansurfer {

struct Classifier {
    Map features;
    Runs valid;            // runs that may be neighbours
    const float* weights;  // [channel][padded]
    const float* bias;     // [padded]
    int32_t channels, classes, padded, height, width;
};

// Float16 sums of all views' logits, classes contiguous.
struct Sum {
    uint16_t* data;      // of row 0, column 0 of the slice, which need not lie inside
    int64_t row, column;
    int32_t top, bottom, left, right;  // the part of the slice that is added up

    uint16_t* at(int64_t y, int64_t x) const { return data + y * row + x * column; }
};

namespace {

constexpr int FLOATS = VECTOR_BYTES / sizeof(float);
constexpr int LINE_BYTES = 64;                // of the cache
constexpr int PIXELS = 4;                     // computed together: each weight loaded serves them all
constexpr int CHUNK = FLOATS == 8 ? 2 : 5;    // vectors of classes computed together
constexpr int MOST_CLASSES = 240;             // a multiple of CHUNK * FLOATS, whichever it is

typedef float floats __attribute__((vector_size(VECTOR_BYTES)));
typedef float unaligned_floats __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

inline floats load_floats(const float* from) { return *reinterpret_cast<const unaligned_floats*>(from); }
inline void store_floats(float* to, floats value) { *reinterpret_cast<unaligned_floats*>(to) = value; }

#if defined(NANSURFER_WIDE)
typedef __m256i half_vec;
inline half_vec load_half(const uint16_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
inline void store_half(uint16_t* to, half_vec value) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value); }
inline floats widen(half_vec value) { return floats(_mm512_cvtph_ps(value)); }
inline half_vec narrow(floats value) { return _mm512_cvtps_ph(__m512(value), _MM_FROUND_TO_NEAREST_INT); }
inline floats multiply_add(floats a, floats b, floats c) {
    return floats(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
}
#elif defined(__AVX2__)
typedef __m128i half_vec;
inline half_vec load_half(const uint16_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
inline void store_half(uint16_t* to, half_vec value) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), value); }
inline floats widen(half_vec value) { return floats(_mm256_cvtph_ps(value)); }
inline half_vec narrow(floats value) { return _mm256_cvtps_ph(__m256(value), _MM_FROUND_TO_NEAREST_INT); }
inline floats multiply_add(floats a, floats b, floats c) {
    return floats(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
}
#else
typedef __fp16 half_vec __attribute__((vector_size(2 * FLOATS)));
typedef __fp16 unaligned_half_vec __attribute__((vector_size(2 * FLOATS), aligned(2), may_alias));
inline half_vec load_half(const uint16_t* from) { return *reinterpret_cast<const unaligned_half_vec*>(from); }
inline void store_half(uint16_t* to, half_vec value) { *reinterpret_cast<unaligned_half_vec*>(to) = value; }
inline floats widen(half_vec value) { return __builtin_convertvector(value, floats); }
inline half_vec narrow(floats value) { return __builtin_convertvector(value, half_vec); }
inline floats multiply_add(floats a, floats b, floats c) { return a * b + c; }
#endif

// Logits of PIXELS pixels of a row.
void classify(const Classifier& classifier, int64_t y, int64_t x, float (*logits)[MOST_CLASSES]) {
    for (int first = 0; first < classifier.padded; first += CHUNK * FLOATS) {
        floats sums[PIXELS][CHUNK];
#pragma GCC unroll 8
        for (int p = 0; p < PIXELS; ++p) {
#pragma GCC unroll 8
            for (int v = 0; v < CHUNK; ++v) sums[p][v] = load_floats(classifier.bias + first + v * FLOATS);
        }
        for (int c = 0; c < classifier.channels; ++c) {
            const real* pixels = classifier.features.at(y, c) + x;
            const float* weights = classifier.weights + int64_t(c) * classifier.padded + first;
#pragma GCC unroll 8
            for (int v = 0; v < CHUNK; ++v) {
                const floats weight = load_floats(weights + v * FLOATS);
#pragma GCC unroll 8
                for (int p = 0; p < PIXELS; ++p) sums[p][v] += weight * float(pixels[p]);
            }
        }
#pragma GCC unroll 8
        for (int p = 0; p < PIXELS; ++p) {
#pragma GCC unroll 8
            for (int v = 0; v < CHUNK; ++v) store_floats(logits[p] + first + v * FLOATS, sums[p][v]);
        }
    }
}

// Calls use(x, logits) for the valid pixels from column `left` up to `right` of row y.
template <class Use>
void for_each_valid(const Classifier& classifier, int64_t y, int left, int right, Use use) {
    float logits[PIXELS][MOST_CLASSES];
    for (const Run* run = classifier.valid.begin(y); run < classifier.valid.end(y); ++run) {
        const int stop = std::min<int>(run->stop, right);
        for (int x = std::max<int>(run->start, left); x < stop; x += PIXELS) {
            classify(classifier, y, x, logits);
            for (int p = 0; p < std::min(PIXELS, stop - x); ++p) use(x + p, logits[p]);
        }
    }
}

// Calls use(x) for the other pixels there.
template <class Use>
void for_each_other(const Classifier& classifier, int64_t y, int left, int right, Use use) {
    int x = left;
    for (const Run* run = classifier.valid.begin(y); run < classifier.valid.end(y); ++run) {
        for (; x < std::min<int>(run->start, right); ++x) use(x);
        x = std::max<int>(x, run->stop);
    }
    for (; x < right; ++x) use(x);
}

// For the sums of a pixel that comes soon: neighbours along a column of the sum may be pages apart.
void prefetch_ahead(const Sum& sum, int64_t y, int64_t x, int classes) {
    const uint16_t* sums = sum.at(y, x + 2 * PIXELS);
    for (int i = 0; i < classes; i += LINE_BYTES / sizeof(*sums)) prefetch(sums + i);
}

// A sum with weighted logits added, rounded to float16.
half_vec added(const uint16_t* before, const float* logits, float weight) {
    return narrow(multiply_add(load_floats(logits), weight - floats{}, widen(load_half(before))));
}

// The index of the first of the largest values.
int first_largest(const float* values, int count) {
    floats most = load_floats(values + count - FLOATS);
    for (int i = 0; i + FLOATS <= count; i += FLOATS) {
        const floats next = load_floats(values + i);
        most = next > most ? next : most;
    }
    float largest = most[0];
    for (int i = 1; i < FLOATS; ++i) largest = std::max(largest, float(most[i]));
    return int(std::find(values, values + count, largest) - values);
}

}  // namespace
}  // namespace nansurfer

using namespace nansurfer;

// Whether all features of the valid pixels are finite. What overflows on the way becomes infinite or NaN, and so does
// what is computed from it.
NANSURFER_EXPORT int32_t finite(const Classifier* classifier) {
    const vec largest = all(sizeof(real) == 2 ? 65504.0f : std::numeric_limits<float>::max());
    for (int64_t y = 0; y < classifier->height; ++y) {
        for (const Run* run = classifier->valid.begin(y); run < classifier->valid.end(y); ++run) {
            for (int x = run->start; x < run->stop; x += LANES) {
                const ivec inside = first_lanes(run->stop - x);
                ivec good = ~ivec{};
                for (int c = 0; c < classifier->channels; ++c) {
                    const vec value = load(classifier->features.at(y, c) + x);
                    good &= (value <= largest) & (value >= -largest);
                }
                good |= ~inside;
                for (int lane = 0; lane < LANES; ++lane)
                    if (!good[lane]) return 0;
            }
        }
    }
    return 1;
}

NANSURFER_EXPORT int32_t class_block() { return CHUNK * FLOATS; }

// Logits (classes, height, width); only valid pixels are written.
NANSURFER_EXPORT void logits(const Classifier* classifier, float* to) {
    const int64_t plane = int64_t(classifier->height) * classifier->width;
    for (int64_t y = 0; y < classifier->height; ++y) {
        for_each_valid(*classifier, y, 0, classifier->width, [&](int x, const float* logits) {
            for (int i = 0; i < classifier->classes; ++i) to[i * plane + y * classifier->width + x] = logits[i];
        });
    }
}

// Adds `weight` times the logits to the sum where they are valid.
NANSURFER_EXPORT void accumulate(const Classifier* classifier, float weight, const Sum* sum) {
    const int last = classifier->classes - FLOATS;  // the last vector overlaps the one before it
    for (int64_t y = sum->top; y < sum->bottom; ++y) {
        for_each_valid(*classifier, y, sum->left, sum->right, [&](int x, const float* logits) {
            uint16_t* sums = sum->at(y, x);
            prefetch_ahead(*sum, y, x, classifier->classes);
            const half_vec tail = added(sums + last, logits + last, weight);
            for (int i = 0; i < last; i += FLOATS) store_half(sums + i, added(sums + i, logits + i, weight));
            store_half(sums + last, tail);
        });
    }
}

// The class of the largest sum of what the views before gave and `weight` times the logits, if they are valid; for the
// part of the slice that the sum is of, which `classes` begins with.
NANSURFER_EXPORT void largest(const Classifier* classifier, float weight, const Sum* before, uint8_t* classes,
                              int64_t row, int64_t column) {
    const int last = classifier->classes - FLOATS;
    const float nothing[MOST_CLASSES] = {};
    for (int64_t y = before->top; y < before->bottom; ++y) {
        const auto use = [&](int x, const float* logits) {
            const uint16_t* sums = before->at(y, x);
            prefetch_ahead(*before, y, x, classifier->classes);
            float values[MOST_CLASSES];
            for (int i = 0; i < last; i += FLOATS) store_floats(values + i, widen(added(sums + i, logits + i, weight)));
            store_floats(values + last, widen(added(sums + last, logits + last, weight)));
            const int largest = first_largest(values, classifier->classes);
            classes[(y - before->top) * row + (x - before->left) * column] = uint8_t(largest);
        };
        for_each_valid(*classifier, y, before->left, before->right, use);
        for_each_other(*classifier, y, before->left, before->right, [&](int x) { use(x, nothing); });
    }
}
