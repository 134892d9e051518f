// What the library asks of the processor, and of a thread before it computes.

#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>
#define NANSURFER_ANYWHERE __attribute__((target("arch=x86-64")))  // runs without what the rest is compiled for
#else
#define NANSURFER_ANYWHERE
#endif

namespace nansurfer {
namespace {

#if defined(NANSURFER_HALF) && defined(__x86_64__)
NANSURFER_ANYWHERE bool has_half() {
    unsigned eax, ebx, ecx, edx = 0;  // older compilers cannot be asked for it by name
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && edx >> 23 & 1;
}
#endif

#if defined(NANSURFER_NARROW)
// Whether vectors of 512 bits take two turns, so that those of 256 are as fast: AMD's family 0x19, of which Zen 4 has them.
NANSURFER_ANYWHERE bool takes_turns() {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx) || ecx != signature_AMD_ecx) return false;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (eax >> 8 & 0xf) + (eax >> 20 & 0xff) == 0x19;
}
#endif

}  // namespace
}  // namespace nansurfer

using namespace nansurfer;

// The sources that the library was made of.
NANSURFER_EXPORT int32_t sources() { return NANSURFER_SOURCES; }

// Whether the processor has the instruction set that the library is compiled for, and none of the others is better.
NANSURFER_EXPORT NANSURFER_ANYWHERE int32_t suits() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool suits = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#if defined(__AVX512F__)
    suits = suits && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
#if defined(NANSURFER_HALF)
    suits = suits && has_half();
#endif
#if defined(NANSURFER_NARROW)
    suits = suits && takes_turns();
#endif
    return suits;
#else
    return 1;
#endif
}

// Lets the calling thread take numbers too small to be normal for zero: each costs a hundred times as much as others.
NANSURFER_EXPORT void flush_denormals() {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040);  // of results, and of operands
#elif defined(__aarch64__)
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | 1 << 24));
#endif
}
