// A convolution with what follows it.

#pragma once

#include "kernels.h"

namespace nansurfer {

// Pixels that a convolution reads where `channels` channels from `channel` on are not valid. They are set to the
// blank response: what the input is for an empty slice.
struct Halo {
    Runs runs;
    int32_t channel, channels;
};

struct Convolution {
    Map input;
    Blank blank;
    Map competitor;        // maxout with it; none if data is null
    Output outputs[2];
    Halo halos[2];
    Runs compute;
    const weight* weights;  // [block of output channels][input channel][row][column][BLOCK]; of a strip's [block of
                            // output channels][transformed row][transformed column][input channel][BLOCK]
    const float* bias;      // one per output channel
    int32_t channels_in, channels_out, kernel;
};

}  // namespace nansurfer
