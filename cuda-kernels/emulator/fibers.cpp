// Runs kernels on the CPU: one fiber for each CUDA thread of a block, blocks spread over threads of the CPU.
//
// Between two barriers every fiber runs once, to the next barrier or to its end; what a warp does together, it does as a
// warp of its own, while the others may be elsewhere. The order is EMULATOR_SEED's: 0 first
// thread first, 1 last thread first, any other number a shuffle that is drawn anew after each barrier. A thread that
// relies on what another does before a barrier works in one of these orders at most.
//
// What this cannot show: the device's memory model within a warp, occupancy, registers, and PTX itself.
#include "emulator.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>

// void emulator_switch(void **save, void *to): keeps the registers that a call must keep, and changes the stack.
asm(R"(
    .text
    .globl emulator_switch
    .hidden emulator_switch
    .type emulator_switch, @function
emulator_switch:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
    .size emulator_switch, . - emulator_switch
)");
extern "C" void emulator_switch(void **save, void *to);

namespace emulator {

thread_local Self *running;

namespace {

constexpr size_t STACK = 256 << 10, WARP = 32;
constexpr int ENDED = -1, BEGINS = -2, EXCHANGE = -3;

uint64_t number(const char *variable) {
    const char *text = getenv(variable);
    return text ? strtoull(text, nullptr, 10) : 0;
}

uint64_t seed() {
    static const uint64_t value = number("EMULATOR_SEED");
    return value;
}

// Puts 0 .. n-1 into the order of the seed.
void arrange(std::vector<uint32_t> &order, size_t n, std::mt19937_64 &random) {
    order.resize(n);
    std::iota(order.begin(), order.end(), 0);
    if (seed() == 1) std::reverse(order.begin(), order.end());
    if (seed() > 1) std::shuffle(order.begin(), order.end(), random);
}

struct Stack {
    char *memory;
    Stack() {
        void *p = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            fputs("emulator: no memory for a stack\n", stderr);
            abort();
        }
        memory = static_cast<char *>(p);
    }
    Stack(Stack &&other) noexcept : memory(std::exchange(other.memory, nullptr)) {}
    ~Stack() {
        if (memory) munmap(memory, STACK);
    }
};

struct Fiber {
    Self self;
    void *stack_pointer;
    int at; // the barrier where it waits, ENDED or BEGINS
    size_t exchanges;
};

struct Memory {
    const void *place;
    std::unique_ptr<char[]> bytes;
};

// What one thread of the CPU runs: one block at a time.
struct Engine {
    const Kernel *kernel;
    void **parameters;
    size_t shared;
    std::vector<Fiber> fibers;
    std::vector<Stack> stacks;
    std::vector<Memory> memory;
    // What the threads exchange, and what they did before: a thread may still read that while others are ahead.
    std::vector<char> exchanged[2];
    std::vector<uint32_t> order;
    std::mt19937_64 random;
    void *stack_pointer;
    Fiber *current;

    bool run_block();
    void run(uint32_t i);
    bool together(size_t from, size_t to) const;
    void begin(Fiber &fiber, size_t i);
};

thread_local Engine *engine;

void end_turn(int at) {
    Fiber *fiber = engine->current;
    fiber->at = at;
    emulator_switch(&fiber->stack_pointer, engine->stack_pointer);
}

void body() {
    engine->kernel->call(engine->parameters);
    end_turn(ENDED);
    abort();
}

void Engine::begin(Fiber &fiber, size_t i) {
    // As `emulator_switch` leaves it: six registers, then where to return to, then 8 bytes that align the stack.
    void **top = reinterpret_cast<void **>(stacks[i].memory + STACK) - 8;
    std::fill(top, top + 8, nullptr);
    top[6] = reinterpret_cast<void *>(body);
    fiber.stack_pointer = top;
    fiber.at = BEGINS;
    fiber.exchanges = 0;
}

void Engine::run(uint32_t i) {
    current = &fibers[i];
    running = &current->self;
    emulator_switch(&stack_pointer, current->stack_pointer);
}

// Whether fibers from .. to wait at the same place.
bool Engine::together(size_t from, size_t to) const {
    int at = fibers[from].at;
    return std::all_of(&fibers[from], &fibers[from] + (to - from), [at](const Fiber &fiber) { return fiber.at == at; });
}

bool Engine::run_block() {
    memory.clear();
    while (stacks.size() < fibers.size()) stacks.emplace_back();
    for (size_t i = 0; i < fibers.size(); i++) begin(fibers[i], i);
    for (;;) {
        arrange(order, fibers.size(), random);
        for (uint32_t i : order) run(i);
        // A warp that exchanged something goes on alone, to the next barrier of the block.
        for (size_t from = 0; from < fibers.size(); from += WARP) {
            size_t to = std::min(from + WARP, fibers.size());
            while (together(from, to) && fibers[from].at == EXCHANGE) {
                arrange(order, to - from, random);
                for (uint32_t i : order) run((uint32_t)from + i);
            }
        }
        if (!together(0, fibers.size())) {
            fprintf(stderr, "emulator: the threads of a block or a warp are at different barriers\n");
            return false;
        }
        if (fibers[0].at == ENDED) return true;
    }
}

std::map<std::string, Kernel> &kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

} // namespace

void add(const char *name, Kernel kernel) { kernels()[name] = std::move(kernel); }

const Kernel *find(const char *name) {
    auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

void barrier(int site) { end_turn(site); }

const void *exchange(const void *mine, size_t bytes) {
    const Self &self = emulator::self();
    std::vector<char> &all = engine->exchanged[engine->current->exchanges++ % 2];
    // Both have their size before anybody holds a pointer into one.
    if (all.size() < self.threads * bytes) all.resize(self.threads * bytes);
    memcpy(all.data() + self.thread * bytes, mine, bytes);
    end_turn(EXCHANGE);
    return all.data();
}

bool left_out(int site) {
    // Sites begin with 1.
    static const uint64_t value = number("EMULATOR_WITHOUT_BARRIER");
    return (uint64_t)site == value;
}

void *shared(const void *place, size_t bytes) {
    for (Memory &memory : engine->memory)
        if (memory.place == place) return memory.bytes.get();
    // `new` aligns to 16 bytes, as the kernels' types ask for.
    Memory memory{place, std::unique_ptr<char[]>(new char[bytes])};
    memset(memory.bytes.get(), 0xCD, bytes);
    engine->memory.push_back(std::move(memory));
    return engine->memory.back().bytes.get();
}

void *shared_at_launch(size_t bytes) {
    static const char place = 0;
    if (bytes > engine->shared) {
        fprintf(stderr, "emulator: a kernel uses %zu bytes of shared memory and was given %zu\n", bytes, engine->shared);
        abort();
    }
    return shared(&place, bytes);
}

bool launch(const Kernel &kernel, const uint32_t blocks[3], uint32_t threads, size_t shared, void **parameters) {
    std::mt19937_64 random(seed());
    std::vector<uint32_t> order;
    arrange(order, (size_t)blocks[0] * blocks[1] * blocks[2], random);
    std::atomic<size_t> next{0};
    std::atomic<bool> good{true};
    auto work = [&](uint64_t number) {
        Engine mine;
        mine.kernel = &kernel;
        mine.parameters = parameters;
        mine.shared = shared;
        mine.fibers.resize(threads);
        mine.random.seed(seed() + number);
        engine = &mine;
        for (size_t i; good && (i = next++) < order.size();) {
            uint32_t b = order[i];
            for (uint32_t t = 0; t < threads; t++)
                mine.fibers[t].self = {t, threads, {b % blocks[0], b / blocks[0] % blocks[1], b / blocks[0] / blocks[1]},
                                       blocks[0]};
            if (!mine.run_block()) good = false;
        }
    };
    size_t workers = std::min<size_t>(std::max(1u, std::thread::hardware_concurrency()), order.size());
    std::vector<std::thread> others;
    for (size_t i = 1; i < workers; i++) others.emplace_back(work, i);
    work(0);
    for (std::thread &other : others) other.join();
    return good;
}

} // namespace emulator
