// Which pixels are valid, which have to be computed, and what that is called in the counts.
//
// A mask is bytes [height][width], 1 where a map is valid.

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels.h"
#include "zoom.h"

namespace nansurfer {
namespace {

enum Kind : uint8_t { SKIPPED, MIXED, WHOLE };

constexpr int GAP = LANES;  // runs that are closer than a vector are computed as one: that seldom takes more vectors

// How many windows are of a kind. Sums have 16 bits, so that more of them fit a vector.
int64_t count_kind(const uint8_t* kinds, int64_t count, Kind kind) {
    constexpr int64_t MOST = 1 << 15;
    int64_t total = 0;
    for (int64_t first = 0; first < count; first += MOST) {
        const int64_t stop = std::min(count, first + MOST);
        uint16_t sum = 0;
        for (int64_t i = first; i < stop; ++i) sum = uint16_t(sum + (kinds[i] == kind));
        total += sum;
    }
    return total;
}

// Runs of bytes that are not 0 in a row; those with less than `gap` zeros between them are one.
Run* find_runs(const uint8_t* row, int width, int gap, Run* to) {
    const Run* const first = to;
    for (int x = 0; x < width;) {
        const void* found = std::memchr(row + x, 1, width - x);
        if (!found) break;
        const int start = int(static_cast<const uint8_t*>(found) - row);
        const void* ended = std::memchr(row + start, 0, width - start);
        const int stop = ended ? int(static_cast<const uint8_t*>(ended) - row) : width;
        if (to > first && start - to[-1].stop < gap)
            to[-1].stop = int16_t(stop);
        else
            *to++ = {int16_t(start), int16_t(stop)};
        x = stop;
    }
    return to;
}

// Adds the runs of row y to those of the rows before.
void add_row(const uint8_t* row, int width, int gap, int y, const Runs& runs) {
    runs.first[y + 1] = int32_t(find_runs(row, width, gap, runs.runs + runs.first[y]) - runs.runs);
}

void find_runs(const uint8_t* mask, int height, int width, int gap, const Runs& runs) {
    runs.first[0] = 0;
    for (int y = 0; y < height; ++y)
        add_row(mask + int64_t(y) * width, width, gap, y, runs);
}

// Sums of a mask's bytes, or of their complements, over squares of side 2 * RADIUS + 1; beyond the mask lie zeros.
template <int RADIUS>
class BoxSums {
public:
    BoxSums(const uint8_t* mask, int height, int width, bool complement)
        : mask_(mask), height_(height), width_(width), flip_(complement), outside_(width, flip_),
          columns_(width + 4 * RADIUS), sums_(width + RADIUS) {}

    // Sums around the pixels of row y, and of RADIUS more on its right.
    const uint8_t* row(int y) {
        const uint8_t* rows[2 * RADIUS + 1];
        for (int i = 0; i <= 2 * RADIUS; ++i) {
            const int at = y + i - RADIUS;
            rows[i] = at < 0 || at >= height_ ? outside_.data() : mask_ + int64_t(at) * width_;
        }
        // Bytes may alias everything: only locals keep the loops simple enough to be made into vectors.
        const int width = width_;
        const uint8_t flip = flip_;
        uint8_t* __restrict columns = columns_.data() + 2 * RADIUS;
        for (int x = 0; x < width; ++x) {
            uint8_t sum = 0;
            for (int i = 0; i <= 2 * RADIUS; ++i) sum += rows[i][x] ^ flip;
            columns[x] = sum;
        }
        uint8_t* __restrict sums = sums_.data();
        columns -= RADIUS;
        for (int x = 0; x < width + RADIUS; ++x) {
            uint8_t sum = 0;
            for (int i = 0; i <= 2 * RADIUS; ++i) sum += columns[x + i];
            sums[x] = sum;
        }
        return sums;
    }

private:
    const uint8_t* mask_;
    const int height_, width_;
    const uint8_t flip_;
    std::vector<uint8_t> outside_, columns_, sums_;
};

// A mask with `margin` more pixels on every side of what is 1, corners included.
void widen(const uint8_t* mask, int height, int width, int margin, uint8_t* to) {
    std::vector<uint8_t> across(int64_t(height) * width);
    for (int y = 0; y < height; ++y) {
        const uint8_t* row = mask + int64_t(y) * width;
        uint8_t* wide = across.data() + int64_t(y) * width;
        int last = -margin - 1;  // column of the last 1
        for (int x = 0; x < width; ++x) {
            if (row[x]) last = x;
            wide[x] = x - last <= margin;
        }
        last = width + margin;
        for (int x = width; x-- > 0;) {
            if (row[x]) last = x;
            wide[x] |= last - x <= margin;
        }
    }
    for (int y = 0; y < height; ++y) {
        uint8_t* __restrict sum = to + int64_t(y) * width;
        std::fill(sum, sum + width, 0);
        for (int near = std::max(0, y - margin); near <= std::min(height - 1, y + margin); ++near) {
            const uint8_t* __restrict row = across.data() + int64_t(near) * width;
            for (int x = 0; x < width; ++x) sum[x] |= row[x];
        }
    }
}

}  // namespace

struct ConvolutionMask {
    const uint8_t* inputs[2];   // masks of the input's channels, the second null if all share one
    int32_t channels[2];
    const uint16_t* needed;     // [height][width]: invalid values from which a window is skipped
    const uint8_t* competitor;  // mask of what the maxout is with; null if there is none
    uint8_t* kinds;             // written: what each window is
    uint8_t* output;            // written: mask of the convolution, of the maxout with the competitor if there is one
    Runs compute;
    Runs halos[2];              // of each input
    int32_t height, width, kernel;
};

namespace {

template <int RADIUS>
void find_kinds(const ConvolutionMask& m) {
    const int width = m.width;
    const int channels[] = {m.channels[0], m.inputs[1] ? m.channels[1] : 0};
    BoxSums<RADIUS> boxes[] = {{m.inputs[0], m.height, width, true},
                               {m.inputs[channels[1] > 0], m.height, width, true}};
    for (int y = 0; y < m.height; ++y) {
        const uint8_t* __restrict first = boxes[0].row(y);
        const uint8_t* __restrict second = channels[1] ? boxes[1].row(y) : first;
        const uint16_t* __restrict needed = m.needed + int64_t(y) * width;
        uint8_t* __restrict kinds = m.kinds + int64_t(y) * width;
        for (int x = 0; x < width; ++x) {
            const uint16_t invalid = uint16_t(first[x] * channels[0] + second[x] * channels[1]);
            kinds[x] = invalid >= needed[x] ? SKIPPED : invalid ? MIXED : WHOLE;
        }
    }
}

// Finds the output's mask and the runs to be computed; returns the mask of what these are in each row.
std::vector<uint8_t> find_output(const ConvolutionMask& m) {
    const int width = m.width, together = rows_together(m.kernel);
    const int64_t size = int64_t(m.height) * width;
    const uint8_t* __restrict kinds = m.kinds;
    uint8_t* __restrict output = m.output;
    for (int64_t i = 0; i < size; ++i) output[i] = kinds[i] != SKIPPED;
    if (const uint8_t* __restrict competitor = m.competitor)
        for (int64_t i = 0; i < size; ++i) output[i] &= competitor[i];
    std::vector<uint8_t> computed(output, output + size);
    m.compute.first[0] = 0;
    for (int y = 0; y < m.height; y += together) {
        uint8_t* __restrict first = computed.data() + int64_t(y) * width;
        const int rows = std::min(together, m.height - y);
        for (int row = 1; row < rows; ++row) {
            const uint8_t* __restrict other = output + int64_t(y + row) * width;
            for (int x = 0; x < width; ++x) first[x] |= other[x];
        }
        for (int row = 1; row < rows; ++row) std::copy(first, first + width, first + int64_t(row) * width);
        add_row(first, width, GAP, y / together, m.compute);
    }
    return computed;
}

// Pixels that the computed windows read and that are not valid; those right of the image among them, since there the
// zeros may have been spilt on.
template <int RADIUS>
void find_halo(const ConvolutionMask& m, const uint8_t* computed, const uint8_t* input, const Runs& halo) {
    const int width = m.width;
    BoxSums<RADIUS> boxes(computed, m.height, width, false);
    std::vector<uint8_t> row(width + RADIUS);
    uint8_t* __restrict missing = row.data();
    halo.first[0] = 0;
    for (int y = 0; y < m.height; ++y) {
        const uint8_t* __restrict read = boxes.row(y);
        const uint8_t* __restrict valid = input + int64_t(y) * width;
        for (int x = 0; x < width; ++x) missing[x] = read[x] ? !valid[x] : 0;
        for (int x = width; x < width + RADIUS; ++x) missing[x] = read[x] ? 1 : 0;
        add_row(missing, width + RADIUS, 0, y, halo);
    }
}

template <int RADIUS>
void mask_convolution_of(const ConvolutionMask& m) {
    find_kinds<RADIUS>(m);
    const std::vector<uint8_t> computed = find_output(m);
    for (int i = 0; i < 2; ++i)
        if (m.inputs[i]) find_halo<RADIUS>(m, computed.data(), m.inputs[i], m.halos[i]);
}

}  // namespace
}  // namespace nansurfer

using namespace nansurfer;

// The runs of a mask, pixel by pixel: not for kernels that compute whole vectors.
NANSURFER_EXPORT void runs(const uint8_t* mask, int32_t height, int32_t width, const Runs* runs) {
    find_runs(mask, height, width, 0, *runs);
}

// The mask of a convolution's output, what has to be computed, and the halos that it needs; kernels of side 1 to 7.
NANSURFER_EXPORT void mask_convolution(const ConvolutionMask* mask) {
    constexpr void (*OF_RADIUS[])(const ConvolutionMask&) = {mask_convolution_of<0>, mask_convolution_of<1>,
                                                             mask_convolution_of<2>, mask_convolution_of<3>};
    OF_RADIUS[mask->kernel / 2](*mask);
}

// Skipped windows in each of rows x columns tiles, and skipped and mixed windows of the whole. Tiles that do not divide
// the image evenly overlap, as the windows of PyTorch's adaptive pooling do.
NANSURFER_EXPORT void count_kinds(const uint8_t* kinds, int32_t height, int32_t width, int32_t rows,
                                  int32_t columns, int32_t* tiles, int64_t* skipped, int64_t* mixed) {
    *skipped = count_kind(kinds, int64_t(height) * width, SKIPPED);
    *mixed = count_kind(kinds, int64_t(height) * width, MIXED);
    std::vector<uint8_t> in_columns(width);  // of a row of tiles, which are no higher than bytes can count
    uint8_t* __restrict counts = in_columns.data();
    for (int row = 0; row < rows; ++row, tiles += columns) {
        std::memset(counts, 0, width);
        for (int y = row * height / rows; y * rows < (row + 1) * height; ++y) {
            const uint8_t* __restrict of_row = kinds + int64_t(y) * width;
            for (int x = 0; x < width; ++x) counts[x] += of_row[x] == SKIPPED;
        }
        for (int column = 0; column < columns; ++column) {
            const int left = column * width / columns, right = ((column + 1) * width + columns - 1) / columns;
            int sum = 0;
            for (int x = left; x < right; ++x) sum += counts[x];
            tiles[column] = sum;
        }
    }
}

// The mask (height / 2, width / 2) of 2x2 pooling: 1 where any of the window is valid, or of a window up to `margin`
// rows and columns away; its runs; the holes, which are the invalid pixels in windows with valid ones; and the ring,
// which is the pixels of windows that are there only for the margin.
NANSURFER_EXPORT void mask_pool(const uint8_t* input, int32_t height, int32_t width, int32_t margin, uint8_t* output,
                                const Runs* compute, const Runs* holes, const Runs* ring) {
    const int rows = height / 2, columns = width / 2;
    std::vector<uint8_t> pooled(int64_t(rows) * columns);
    for (int y = 0; y < rows; ++y) {
        const uint8_t* __restrict top = input + int64_t(2 * y) * width;
        const uint8_t* __restrict bottom = top + width;
        uint8_t* __restrict to = pooled.data() + int64_t(y) * columns;
        for (int x = 0; x < columns; ++x) to[x] = top[2 * x] | top[2 * x + 1] | bottom[2 * x] | bottom[2 * x + 1];
    }
    widen(pooled.data(), rows, columns, margin, output);
    std::vector<uint8_t> hole_row(width), ring_row(width);
    holes->first[0] = ring->first[0] = 0;
    for (int y = 0; y < height; ++y) {
        const uint8_t* __restrict own = input + int64_t(y) * width;
        const uint8_t* __restrict any = pooled.data() + int64_t(y / 2) * columns;
        const uint8_t* __restrict kept = output + int64_t(y / 2) * columns;
        uint8_t *__restrict hole = hole_row.data(), *__restrict margin_only = ring_row.data();
        for (int x = 0; x < columns; ++x) {
            hole[2 * x] = any[x] & !own[2 * x];
            hole[2 * x + 1] = any[x] & !own[2 * x + 1];
            margin_only[2 * x] = margin_only[2 * x + 1] = kept[x] & !any[x];
        }
        add_row(hole_row.data(), width, 0, y, *holes);
        add_row(ring_row.data(), width, 0, y, *ring);
    }
    find_runs(output, rows, columns, GAP, *compute);
}

// The mask (height, width) of unpooling followed by maxout with `skip`, and its runs.
NANSURFER_EXPORT void mask_unpool(const uint8_t* pooled, const uint8_t* skip, int32_t height, int32_t width,
                                  uint8_t* output, const Runs* compute) {
    for (int y = 0; y < height; ++y) {
        const uint8_t* __restrict from = pooled + int64_t(y / 2) * (width / 2);
        const uint8_t* __restrict beside = skip + int64_t(y) * width;
        uint8_t* __restrict to = output + int64_t(y) * width;
        for (int x = 0; x < width / 2; ++x) {
            to[2 * x] = from[x] & beside[2 * x];
            to[2 * x + 1] = from[x] & beside[2 * x + 1];
        }
    }
    find_runs(output, height, width, GAP, *compute);
}

// The mask (height, width) of bilinear resampling, and its runs: 1 where all four pixels that are read are valid,
// whatever their weights, and where the output is padding.
NANSURFER_EXPORT void mask_zoom(const uint8_t* input, int32_t input_width, const Axis* rows, const Axis* columns,
                                int32_t height, int32_t width, uint8_t* output, const Runs* compute) {
    std::vector<uint8_t> pair(input_width + 1, 1);  // of rows, from column -1 on
    for (int y = 0; y < height; ++y) {
        if (rows->first[y] < 0) {
            std::fill(pair.begin(), pair.end(), 1);
        } else {
            const uint8_t* __restrict above = input + int64_t(rows->first[y]) * input_width;
            const uint8_t* __restrict below = input + int64_t(rows->second[y]) * input_width;
            uint8_t* __restrict both = pair.data() + 1;
            for (int x = 0; x < input_width; ++x) both[x] = above[x] & below[x];
        }
        uint8_t* __restrict to = output + int64_t(y) * width;
        for (int x = 0; x < width; ++x) to[x] = pair[columns->first[x] + 1] & pair[columns->second[x] + 1];
    }
    find_runs(output, height, width, GAP, *compute);
}
