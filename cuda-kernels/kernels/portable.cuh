// One source, two compilers: clang, which makes PTX with its own built-ins and no header of the toolkit, and g++, which
// makes the same kernels run on the emulator (emulator/emulator.h).
//
//     KERNEL(name)(parameters) { .. }   EXPORT(name)
//     SHARED(T, name, count)            memory of the block; the emulator fills it with garbage for each block
//     SHARED_AT_LAUNCH(T, name, count)  the same, more than a kernel may name itself: the host says how much (kernel.rs)
//     BARRIER(site)                     all threads of the block; sites are numbered from 1, so that tests can leave one out
//     THREAD, THREADS, BLOCK_X ..       numbers of the thread and its block
//
// Rules: no thread returns before a barrier that others reach; shared and global memory is written before it is read.
#pragma once

#if defined(__clang__) && defined(__CUDA__)

typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
#define INT64_MIN (-0x7fffffffffffffffL - 1)

#define INLINE __attribute__((always_inline))
#define DEVICE __attribute__((device)) inline INLINE
#define DEVICE_CALL __attribute__((device)) inline __attribute__((noinline))
#define KERNEL(name) extern "C" __attribute__((global)) void name
#define EXPORT(name)
#define SHARED(T, name, count) static __attribute__((device)) __attribute__((shared)) T name[count]
#define SHARED_AT_LAUNCH(T, name, count) extern __attribute__((device)) __attribute__((shared)) T name[]
#define BARRIER(site) __syncthreads()
#define THREAD ((uint32_t)__nvvm_read_ptx_sreg_tid_x())
#define THREADS ((uint32_t)__nvvm_read_ptx_sreg_ntid_x())
#define BLOCK_X ((uint32_t)__nvvm_read_ptx_sreg_ctaid_x())
#define BLOCK_Y ((uint32_t)__nvvm_read_ptx_sreg_ctaid_y())
#define BLOCK_Z ((uint32_t)__nvvm_read_ptx_sreg_ctaid_z())
#define BLOCKS_X ((uint32_t)__nvvm_read_ptx_sreg_nctaid_x())

// c + sum of four products of signed bytes.
DEVICE int32_t dot4(int32_t a, int32_t b, int32_t c) {
    int32_t sum;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;
}

// What a warp of 32 threads does together. A matrix is eight rows of 16 bytes in shared memory; thread t holds four bytes
// of it, from byte 4 (t mod 4) of row t / 4. `row(i)` is where row i of 32 begins; r[q] is of rows 8 q to 8 q + 7.
DEVICE uint32_t shared_address(const void *p) {
    uint64_t address;
    asm("cvta.to.shared.u64 %0, %1;" : "=l"(address) : "l"(p));
    return (uint32_t)address;
}
template <class Row> DEVICE void load_matrices(uint32_t (&r)[4], const Row &row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row((uint32_t)__nvvm_read_ptx_sreg_tid_x() % 32)))
                 : "memory");
}
// c += a b of bytes, 16 by 32 and 32 by 8. Thread t = 4 g + h holds rows g, g + 8 of a (bytes 4 h .. and 16 + 4 h ..: a[0],
// a[1], then a[2], a[3]), the same bytes of column g of b, and columns 2 h, 2 h + 1 of rows g (c[0], c[1]) and g + 8 of c.
DEVICE void multiply_matrices(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t b0, const uint32_t b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// Copies 16 bytes to shared memory, or zeros, while the thread goes on. Copies are joined to groups; all but the latest
// `PENDING` groups have arrived, for this thread, after a wait.
DEVICE void copy_later(void *to, const void *from, bool zeros) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(to)), "l"(from), "r"(zeros ? 0 : 16)
                 : "memory");
}
DEVICE void join_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING> DEVICE void wait_for_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

// The bits of a number in reverse.
DEVICE uint32_t reversed(uint32_t value) {
    uint32_t bits;
    asm("brev.b32 %0, %1;" : "=r"(bits) : "r"(value));
    return bits;
}

// 32-bit arithmetic with the carry flag. The flag lives between statements, so all of them are volatile, which keeps
// their order, and nothing else may come between those of a chain that sets it.
#define CARRY_2(name, instruction)                                                                                     \
    DEVICE uint32_t name(uint32_t a, uint32_t b) {                                                                     \
        uint32_t r;                                                                                                    \
        asm volatile(instruction " %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));                                           \
        return r;                                                                                                      \
    }
#define CARRY_3(name, instruction)                                                                                     \
    DEVICE uint32_t name(uint32_t a, uint32_t b, uint32_t c) {                                                         \
        uint32_t r;                                                                                                    \
        asm volatile(instruction " %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));                               \
        return r;                                                                                                      \
    }
CARRY_2(add_cc, "add.cc.u32")
CARRY_2(addc_cc, "addc.cc.u32")
CARRY_2(addc, "addc.u32")
CARRY_2(sub_cc, "sub.cc.u32")
CARRY_2(subc_cc, "subc.cc.u32")
CARRY_2(subc, "subc.u32")
CARRY_3(mad_lo_cc, "mad.lo.cc.u32")
CARRY_3(madc_lo_cc, "madc.lo.cc.u32")
CARRY_3(madc_hi_cc, "madc.hi.cc.u32")
CARRY_3(madc_hi, "madc.hi.u32")

#else

#include "../emulator/emulator.h"

#define INLINE __attribute__((always_inline))
#define DEVICE inline INLINE
#define DEVICE_CALL inline __attribute__((noinline))
#define KERNEL(name) static void name
#define EXPORT(name) static const emulator::Export export_##name(#name, name);
#define SHARED(T, name, count)                                                                                         \
    static const char name##_place = 0;                                                                                \
    T *name = static_cast<T *>(emulator::shared(&name##_place, sizeof(T) * (count)))
#define SHARED_AT_LAUNCH(T, name, count)                                                                               \
    T *name = static_cast<T *>(emulator::shared_at_launch(sizeof(T) * (count)))
#define BARRIER(site) (emulator::left_out(site) ? (void)0 : emulator::barrier(site))
#define THREAD (emulator::self().thread)
#define THREADS (emulator::self().threads)
#define BLOCK_X (emulator::self().block[0])
#define BLOCK_Y (emulator::self().block[1])
#define BLOCK_Z (emulator::self().block[2])
#define BLOCKS_X (emulator::self().blocks_x)

DEVICE int32_t dot4(int32_t a, int32_t b, int32_t c) {
    for (int i = 0; i < 32; i += 8) c += (int8_t)(uint8_t)((uint32_t)a >> i) * (int8_t)(uint8_t)((uint32_t)b >> i);
    return c;
}

template <class Row> DEVICE void load_matrices(uint32_t (&r)[4], const Row &row) {
    uint32_t t = THREAD % 32;
    for (uint32_t q = 0; q < 4; q++) memcpy(&r[q], (const char *)row(8 * q + t / 4) + 4 * (t % 4), 4);
}
DEVICE void multiply_matrices(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t b0, const uint32_t b1) {
    struct Held {
        uint32_t a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    const Held *warp = static_cast<const Held *>(emulator::exchange(&mine, sizeof mine)) + THREAD / 32 * 32;
    uint32_t g = THREAD % 32 / 4, h = THREAD % 4;
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t word = 0; word < 8; word++)
            c[i] = dot4((int32_t)warp[4 * g + word % 4].a[word / 4 * 2 + i / 2],
                        (int32_t)warp[4 * (2 * h + i % 2) + word % 4].b[word / 4], c[i]);
}
DEVICE void copy_later(void *to, const void *from, bool zeros) {
    if (zeros) memset(to, 0, 16);
    else memcpy(to, from, 16);
}
DEVICE void join_copies() {}
template <int PENDING> DEVICE void wait_for_copies() {}

DEVICE uint32_t reversed(uint32_t value) {
    uint32_t bits = 0;
    for (int i = 0; i < 32; i++) bits |= (value >> i & 1) << (31 - i);
    return bits;
}

static thread_local uint32_t carry;
DEVICE uint32_t keep(uint64_t t) {
    carry = (uint32_t)(t >> 32) & 1;
    return (uint32_t)t;
}
DEVICE uint32_t low(uint32_t a, uint32_t b) { return a * b; }
DEVICE uint32_t high(uint32_t a, uint32_t b) { return (uint32_t)((uint64_t)a * b >> 32); }
DEVICE uint32_t add_cc(uint32_t a, uint32_t b) { return keep((uint64_t)a + b); }
DEVICE uint32_t addc_cc(uint32_t a, uint32_t b) { return keep((uint64_t)a + b + carry); }
DEVICE uint32_t addc(uint32_t a, uint32_t b) { return a + b + carry; }
DEVICE uint32_t sub_cc(uint32_t a, uint32_t b) { return keep((uint64_t)a - b); }
DEVICE uint32_t subc_cc(uint32_t a, uint32_t b) { return keep((uint64_t)a - b - carry); }
DEVICE uint32_t subc(uint32_t a, uint32_t b) { return a - b - carry; }
DEVICE uint32_t mad_lo_cc(uint32_t a, uint32_t b, uint32_t c) { return keep((uint64_t)low(a, b) + c); }
DEVICE uint32_t madc_lo_cc(uint32_t a, uint32_t b, uint32_t c) { return keep((uint64_t)low(a, b) + c + carry); }
DEVICE uint32_t madc_hi_cc(uint32_t a, uint32_t b, uint32_t c) { return keep((uint64_t)high(a, b) + c + carry); }
DEVICE uint32_t madc_hi(uint32_t a, uint32_t b, uint32_t c) { return high(a, b) + c + carry; }

#endif

// The lowest `count` bits in reverse, count from 1.
DEVICE uint32_t reversed(uint32_t value, uint32_t count) { return reversed(value) >> (32 - count); }

// Value before the addition.
DEVICE uint32_t add_atomically(uint32_t *to, uint32_t value) { return __atomic_fetch_add(to, value, __ATOMIC_RELAXED); }

// Number of the thread among those along x.
DEVICE uint64_t element() { return (uint64_t)BLOCK_X * THREADS + THREAD; }
