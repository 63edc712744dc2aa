// The types of a launch: threads, warps, blocks, and what is reported about them.
#pragma once

#include "fibre.h"

// `u32` and its kin are device.cuh's; the scheduler is compiled with that header so that both agree on every type.
#include "device.cuh"

#include <memory>

namespace emulation {

enum class State : u8 { Ready, AtBarrier, AtExchange, Spinning, Ended, BlockLeft };

// ------------------------------------------------------------------ what crosses to Rust; src/ffi.rs has the same layout

enum class Fault : u32 {
    None,
    UnknownKernel,
    ParamsBytes,     // expected, got
    Threads,         // expected: the launch bound; got
    SharedBytes,     // expected: the most there is; got
    Diverged,        // waits
    Deadlock,        // waits
    SharedOverrun,   // got: 0 before, 1 behind
    OutsideMask,     // got: the mask
    Misaligned,      // expected: bytes; got: the address
    StackOverflow,   // expected: bytes of a stack
    PollWithoutWait, // got: how often
    DuplicateKernel, // two files have one of this name
    EmptyGrid,
};

// Threads that wait at one place.
struct Wait {
    const char* file;
    u32 line;
    u32 threads;
    u32 state; // of `State`
};

constexpr u32 MAX_WAITS = 8;

struct Failure {
    Fault fault;
    u32 block_x, block_y, thread;
    u64 expected, got;
    const char* file;
    u32 line;
    u32 ended;
    u32 num_waits;
    Wait waits[MAX_WAITS];
};

struct Stats {
    u64 threads, barriers, exchanges, spins, switches, most_fibres;
};

struct Request {
    const char* name;
    u64 name_bytes;
    const void* params;
    u64 params_bytes;
    u32 grid_x, grid_y, block_threads;
    u64 shared_bytes, seed;
};

// ------------------------------------------------------------------ a launch

struct Block;

struct Thread {
    Context context;
    unsigned char* stack = nullptr;
    Block* block = nullptr;
    Index index{};
    State state = State::Ready;
    Place place{};
    u64 value = 0; // brought to an exchange, and then its result
    u32 mask = 0, source = 0;
    Exchange kind = Exchange::Sync;
    u32 polls = 0; // since it last waited
};

struct Block {
    Index index{};
    std::vector<Thread> threads;
    std::vector<u32> ready;      // a ring of thread numbers; its size is a power of two
    u32 first = 0, count = 0;    // of the ring
    std::vector<u32> spinning;
    std::vector<u32> lanes_waiting; // per warp, a bit for each lane at an exchange
    u32 at_barrier = 0, ended = 0;
    std::vector<unsigned char> memory;
    unsigned char* shared = nullptr; // within `memory`, between the guards

    void push_back(u32 thread) { ready[(first + count++) & (ready.size() - 1)] = thread; }
    void push_front(u32 thread) { first = (first - 1) & u32(ready.size() - 1), ready[first] = thread, count++; }
    u32 pop() {
        const u32 thread = ready[first];
        first = (first + 1) & u32(ready.size() - 1), count--;
        return thread;
    }
};

// splitmix64
struct Random {
    u64 state;
    u32 below(u32 bound) { return u32(((next() >> 32) * bound) >> 32); }
    u64 next() {
        u64 z = state += 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }
    template <class T>
    void shuffle(T* items, u32 count) {
        for (u32 i = count; i > 1; i--) {
            const u32 j = below(i);
            const T other = items[j];
            items[j] = items[i - 1], items[i - 1] = other;
        }
    }
};

} // namespace emulation
