// Where the pixels of a resampled map come from.

#pragma once

#include <cstdint>

namespace nansurfer {

// Between which two pixels of the input each pixel along an axis of the output lies, and how near to the second, 0 to 1.
// Where the output is padding both are -1: the zeros in front of the image. A vector more is there than the axis is long.
struct Axis {
    const int32_t* first;
    const int32_t* second;
    const float* share;
};

}  // namespace nansurfer
