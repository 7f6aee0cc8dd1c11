// What the kernels see of the emulator: who they are, barriers, memory of the block, and a list of kernels by name.
#pragma once

#include <functional>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <utility>

namespace emulator {

// The CUDA thread that runs.
struct Self {
    uint32_t thread, threads, block[3], blocks_x;
};
extern thread_local Self *running;
inline const Self &self() { return *running; }

// Ends this thread's turn until every thread of the block is here.
void barrier(int site);

// Whether a barrier is left out, to see that tests notice: EMULATOR_WITHOUT_BARRIER is its number.
bool left_out(int site);

// What every thread of the warp hands in, all equally long, thread i of the block's at i; valid until they meet again.
const void *exchange(const void *mine, size_t bytes);

// Memory of the block, the same for every thread that names the place; garbage at first.
void *shared(const void *place, size_t bytes);

// Memory of the block that the launch gave it; ends the program if it gave less.
void *shared_at_launch(size_t bytes);

// A kernel: number of parameters, and a call with pointers to them.
struct Kernel {
    size_t parameters;
    std::function<void(void **)> call;
};
void add(const char *name, Kernel kernel);

struct Export {
    template <class... A> Export(const char *name, void (*kernel)(A...)) {
        add(name, {sizeof...(A), [kernel](void **p) { call(kernel, p, std::index_sequence_for<A...>{}); }});
    }
    template <class... A, size_t... I>
    static void call(void (*kernel)(A...), void **p, std::index_sequence<I...>) {
        kernel(*static_cast<A *>(p[I])...);
    }
};

// Runs a kernel on a grid; false if the threads of a block did not all reach the same barriers.
bool launch(const Kernel &kernel, const uint32_t blocks[3], uint32_t threads, size_t shared, void **parameters);

// nullptr if there is no kernel of this name.
const Kernel *find(const char *name);

} // namespace emulator
