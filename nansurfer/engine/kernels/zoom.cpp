// Bilinear resampling of maps, between the image's pixels and those of 1 mm that the inner network sees.

#include "zoom.h"

#include "kernels.h"

namespace nansurfer {
namespace {

float between(float first, float second, float share) { return first + (second - first) * share; }

}  // namespace

struct Zoom {
    Map input;
    Output output;
    Runs compute;
    Axis rows, columns;
    int32_t channels, height;
};

}  // namespace nansurfer

using namespace nansurfer;

// Wherever the output is valid, all that is read of the input is.
NANSURFER_EXPORT void zoom(const Zoom* zoom) {
    const Zoom& z = *zoom;
    for (int y = 0; y < z.height; ++y) {
        const float down = z.rows.share[y];
        for (int c = 0; c < z.channels; ++c) {
            const real* above = z.input.at(z.rows.first[y], c);
            const real* below = z.input.at(z.rows.second[y], c);
            for (const Run* run = z.compute.begin(y); run < z.compute.end(y); ++run) {
                for (int x = run->start; x < run->stop; x += LANES) {
                    real values[LANES];
                    for (int i = 0; i < LANES; ++i) {
                        const int32_t left = z.columns.first[x + i], right = z.columns.second[x + i];
                        const float across = z.columns.share[x + i];
                        values[i] = real(between(between(above[left], above[right], across),
                                                  between(below[left], below[right], across), down));
                    }
                    z.output.put(y, c, x, load(values));
                }
            }
        }
    }
}
