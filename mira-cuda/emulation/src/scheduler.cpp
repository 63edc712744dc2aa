// Runs launches: blocks one after another until each ends or spins, threads of a block in an order shuffled at every barrier.
//
// A block starts when its turn comes and gives its stacks back when it ends, so only blocks that wait for each other are all alive, which is
// what a cooperative launch promises. Blocks influence each other through memory alone; a block whose threads all wait, none of
// them spinning, is therefore stuck for good, and so are all blocks when nothing but spinning has happened for many rounds.
#include "scheduler.h"

#include <string>

namespace emulation {

__thread Here here;

namespace {

constexpr u32 GUARD_BYTES = 256;
constexpr u16 GUARD = 0xfff5; // a NaN in bf16, f16, float and double, and not the 0xffff that fresh memory is filled with
constexpr u64 MAX_SHARED_BYTES = 227 * 1024;
constexpr u32 IDLE_ROUNDS = 1000;
constexpr u32 MAX_POLLS = 10'000'000;

const Registration* kernels = nullptr;

struct Launch {
    const Request& request;
    const Registration& kernel;
    Random random;
    Stats stats{};
    Failure failure{};
    bool progress = false; // something else than spinning happened in this round
    u64 fibres = 0;
};

// What an OS thread keeps between launches.
struct Pool {
    Stacks stacks;
    std::vector<std::unique_ptr<Block>> blocks;
};
thread_local Pool pool;

__thread Launch* launch;
__thread Thread* running;
Context& scheduler() {
    static thread_local Context context;
    return context;
}

void wait(State state, Place place) {
    running->state = state;
    running->place = place;
    running->polls = 0;
    launch->progress |= state != State::Spinning;
    Thread* self = running;
    switch_context(self->context, scheduler());
}

// Ends the launch: the scheduler does not come back to any fibre.
[[noreturn]] void fail(Fault fault, Place place, u64 expected, u64 got) {
    Failure& failure = launch->failure;
    failure.fault = fault;
    failure.block_x = running->block->index.x, failure.block_y = running->block->index.y, failure.thread = running->index.x;
    failure.expected = expected, failure.got = got;
    failure.file = place.file, failure.line = u32(place.line);
    for (;;) wait(State::Ended, place);
}

bool same_place(Place a, Place b) { return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0); }

u32 existing_lanes(const Block& block, u32 warp) {
    const u32 lanes = u32(block.threads.size()) - warp * WARP;
    return lanes >= WARP ? FULL_WARP : (1u << lanes) - 1;
}

// Makes threads ready in a random order.
void release(Block& block, u32* threads, u32 count, bool front) {
    launch->random.shuffle(threads, count);
    for (u32 i = 0; i < count; i++) {
        block.threads[threads[i]].state = State::Ready;
        front ? block.push_front(threads[i]) : block.push_back(threads[i]);
    }
}

// Counts the waiting threads of a block by place.
void describe(const Block& block) {
    Failure& failure = launch->failure;
    failure.ended += block.ended;
    for (const Thread& thread : block.threads) {
        if (thread.state == State::Ended || thread.state == State::Ready) continue;
        u32 i = 0;
        const auto matches = [&](const Wait& w) { return w.state == u32(thread.state) && same_place({w.file, int(w.line)}, thread.place); };
        while (i < failure.num_waits && !matches(failure.waits[i])) i++;
        if (i == MAX_WAITS) continue;
        if (i == failure.num_waits) failure.waits[failure.num_waits++] = {thread.place.file, u32(thread.place.line), 0, u32(thread.state)};
        failure.waits[i].threads++;
    }
}

void diverged(const Block& block) {
    launch->failure.fault = Fault::Diverged;
    launch->failure.block_x = block.index.x, launch->failure.block_y = block.index.y;
    describe(block);
}

void check_guards(const Block& block, Place place) {
    for (u32 behind = 0; behind < 2; behind++) {
        const unsigned char* guard = behind ? block.shared + launch->request.shared_bytes : block.shared - GUARD_BYTES;
        for (u32 i = 0; i < GUARD_BYTES; i += sizeof GUARD) {
            if (memcmp(guard + i, &GUARD, sizeof GUARD) == 0) continue;
            launch->failure = {};
            launch->failure.fault = Fault::SharedOverrun;
            launch->failure.block_x = block.index.x, launch->failure.block_y = block.index.y;
            launch->failure.got = behind;
            launch->failure.file = place.file, launch->failure.line = u32(place.line);
            return;
        }
    }
}

void arrive_at_barrier(Block& block) {
    const u32 size = u32(block.threads.size());
    if (++block.at_barrier < size) return;
    check_guards(block, running->place);
    for (const Thread& thread : block.threads)
        if (!same_place(thread.place, running->place)) return diverged(block);
    launch->stats.barriers++;
    block.at_barrier = 0;
    // The ring is empty: nobody else is left to be ready.
    block.first = 0;
    for (u32 i = 0; i < size; i++) block.ready[i] = i;
    block.count = size;
    launch->random.shuffle(block.ready.data(), size);
    for (Thread& thread : block.threads) thread.state = State::Ready;
}

void arrive_at_exchange(Block& block, Thread& arrived) {
    const u32 warp = arrived.index.x / WARP, lane = arrived.index.x % WARP;
    const u32 wanted = arrived.mask & existing_lanes(block, warp);
    u32& waiting = block.lanes_waiting[warp];
    waiting |= 1u << lane;
    if ((waiting & wanted) != wanted) return;
    Thread* const threads = &block.threads[warp * WARP];
    for (u32 i = 0; i < WARP; i++) {
        if (!(wanted >> i & 1)) continue;
        const Thread& other = threads[i];
        if (other.mask != arrived.mask || other.kind != arrived.kind || !same_place(other.place, arrived.place)) return diverged(block);
    }
    u64 brought[WARP];
    u32 released[WARP], count = 0;
    for (u32 i = 0; i < WARP; i++) brought[i] = wanted >> i & 1 ? threads[i].value : ~0ull;
    for (u32 i = 0; i < WARP; i++) {
        if (!(wanted >> i & 1)) continue;
        u32 from = threads[i].source;
        if (arrived.kind == Exchange::ByXor) from = i ^ (from & (WARP - 1));
        if (arrived.kind == Exchange::ByIndex) from &= WARP - 1;
        if (arrived.kind == Exchange::Down) from = i + from < WARP ? i + from : i;
        threads[i].value = brought[from];
        released[count++] = warp * WARP + i;
    }
    waiting &= ~wanted;
    launch->stats.exchanges++;
    // At times the warp runs on before all others, at times after them.
    release(block, released, count, launch->random.next() & 1);
}

void enter() {
    launch->kernel.entry(launch->request.params);
    for (;;) wait(State::Ended, {"", 0});
}

std::unique_ptr<Block> start(u64 number) {
    const Request& request = launch->request;
    std::unique_ptr<Block> block;
    if (pool.blocks.empty()) {
        block = std::make_unique<Block>();
    } else {
        block = std::move(pool.blocks.back());
        pool.blocks.pop_back();
    }
    const u32 size = request.block_threads;
    block->index = {u32(number % request.grid_x), u32(number / request.grid_x), 0};
    block->threads.resize(size);
    u32 ring = 1;
    while (ring < size) ring *= 2;
    block->ready.resize(ring);
    block->first = 0, block->count = size, block->at_barrier = 0, block->ended = 0;
    block->spinning.clear();
    block->lanes_waiting.assign((size + WARP - 1) / WARP, 0);
    for (u32 i = 0; i < size; i++) {
        Thread& thread = block->threads[i];
        if (thread.stack == nullptr) thread.stack = pool.stacks.take();
        make_context(thread.context, thread.stack, enter);
        thread.block = block.get();
        thread.index = {i, 0, 0};
        thread.state = State::Ready;
        block->ready[i] = i;
    }
    launch->random.shuffle(block->ready.data(), size);
    block->memory.assign(request.shared_bytes + 2 * GUARD_BYTES + 128, 0xff);
    const uintptr_t lowest = reinterpret_cast<uintptr_t>(block->memory.data()) + GUARD_BYTES;
    block->shared = reinterpret_cast<unsigned char*>((lowest + 127) / 128 * 128);
    for (u32 i = 0; i < GUARD_BYTES; i += sizeof GUARD) {
        memcpy(block->shared - GUARD_BYTES + i, &GUARD, sizeof GUARD);
        memcpy(block->shared + request.shared_bytes + i, &GUARD, sizeof GUARD);
    }
    launch->stats.threads += size;
    launch->fibres += size;
    if (launch->fibres > launch->stats.most_fibres) launch->stats.most_fibres = launch->fibres;
    return block;
}

void put_away(std::unique_ptr<Block> block) {
    launch->fibres -= block->threads.size();
    for (Thread& thread : block->threads) {
        pool.stacks.give_back(thread.stack);
        thread.stack = nullptr;
    }
    pool.blocks.push_back(std::move(block));
}

// Runs a block until all its threads have ended, or those left all wait, or one has told other blocks something that they may see before
// the rest of this block runs.
void run(Block& block) {
    here.block = block.index;
    here.shared = block.shared;
    while (block.count > 0) {
        Thread& thread = block.threads[block.pop()];
        running = &thread;
        here.thread = thread.index;
        launch->stats.switches++;
        switch_context(scheduler(), thread.context);
        if (launch->failure.fault != Fault::None) return;
        switch (thread.state) {
        case State::Ready: break;
        case State::AtBarrier: arrive_at_barrier(block); break;
        case State::AtExchange: arrive_at_exchange(block, thread); break;
        case State::Spinning:
            launch->stats.spins++;
            block.spinning.push_back(thread.index.x);
            break;
        case State::BlockLeft:
            thread.state = State::Ready;
            block.push_back(thread.index.x);
            return;
        case State::Ended:
            block.ended++;
            if (!stack_is_whole(thread.stack)) {
                launch->failure.fault = Fault::StackOverflow;
                launch->failure.expected = STACK_BYTES;
                return;
            }
            break;
        }
        if (launch->failure.fault != Fault::None) return;
    }
    if (block.ended == block.threads.size())
        check_guards(block, {"the end of the kernel", 0});
    else if (block.spinning.empty())
        diverged(block);
}

void run_all() {
    const u64 num_blocks = u64(launch->request.grid_x) * launch->request.grid_y;
    std::vector<u64> order(num_blocks);
    for (u64 i = 0; i < num_blocks; i++) order[i] = i;
    launch->random.shuffle(order.data(), u32(num_blocks));
    std::vector<std::unique_ptr<Block>> alive;
    const auto turn = [&](std::unique_ptr<Block> block) {
        run(*block);
        if (launch->failure.fault == Fault::None && block->ended == block->threads.size())
            put_away(std::move(block));
        else
            alive.push_back(std::move(block));
    };
    for (u64 i = 0; i < num_blocks && launch->failure.fault == Fault::None; i++) turn(start(order[i]));
    u32 idle = 0;
    while (!alive.empty() && launch->failure.fault == Fault::None) {
        std::vector<std::unique_ptr<Block>> round;
        round.swap(alive);
        for (size_t i = round.size(); i > 1; i--) round[i - 1].swap(round[launch->random.below(u32(i))]);
        launch->progress = false;
        for (std::unique_ptr<Block>& block : round) {
            if (launch->failure.fault != Fault::None) {
                alive.push_back(std::move(block));
                continue;
            }
            std::vector<u32> spinning;
            spinning.swap(block->spinning);
            release(*block, spinning.data(), u32(spinning.size()), false);
            turn(std::move(block));
        }
        idle = launch->progress ? 0 : idle + 1;
        if (idle == IDLE_ROUNDS) {
            launch->failure.fault = Fault::Deadlock;
            for (const auto& block : alive) describe(*block);
        }
    }
    for (std::unique_ptr<Block>& block : alive) put_away(std::move(block));
}

} // namespace

Registration::Registration(const char* name, unsigned long long params_bytes, unsigned max_threads, Entry entry)
    : name(name), params_bytes(params_bytes), max_threads(max_threads), entry(entry), next(kernels) {
    kernels = this;
}

void barrier(Place place) { wait(State::AtBarrier, place); }

unsigned long long exchange(Exchange kind, unsigned mask, unsigned long long value, unsigned source, Place place) {
    if (!(mask >> running->index.x % WARP & 1)) fail(Fault::OutsideMask, place, 0, mask);
    running->kind = kind, running->mask = mask, running->value = value, running->source = source;
    wait(State::AtExchange, place);
    return running->value;
}

void spin(Place place) { wait(State::Spinning, place); }

void note_poll(Place place) {
    if (++running->polls == MAX_POLLS) fail(Fault::PollWithoutWait, place, 0, MAX_POLLS);
}

void note_atomic(unsigned value) { launch->progress |= value != 0; } // adding nothing is another way to poll

void told_others(Place place) {
    if (launch->random.next() & 1) wait(State::BlockLeft, place);
}

void check_aligned(const void* address, unsigned long bytes, Place place) {
    if (reinterpret_cast<uintptr_t>(address) % bytes != 0) fail(Fault::Misaligned, place, bytes, reinterpret_cast<uintptr_t>(address));
}

} // namespace emulation

using namespace emulation;

// Generated: refers to every file of kernels, so that the linker keeps them.
extern "C" void mira_emulation_link_kernels();

// Writes what there was to count, or what went wrong.
extern "C" void mira_emulation_launch(const Request* request, Stats* stats, Failure* failure) {
    if (kernels == nullptr) mira_emulation_link_kernels();
    const std::string name(request->name, request->name_bytes);
    const Registration* kernel = nullptr;
    *failure = {};
    for (const Registration* k = kernels; k != nullptr; k = k->next) {
        if (name != k->name) continue;
        if (kernel != nullptr) failure->fault = Fault::DuplicateKernel;
        kernel = k;
    }
    const auto check = [&](bool wrong, Fault fault, u64 expected, u64 got) {
        if (wrong && failure->fault == Fault::None) failure->fault = fault, failure->expected = expected, failure->got = got;
    };
    check(kernel == nullptr, Fault::UnknownKernel, 0, 0);
    check(request->grid_x == 0 || request->grid_y == 0, Fault::EmptyGrid, 0, 0);
    if (kernel != nullptr) {
        check(request->params_bytes != kernel->params_bytes, Fault::ParamsBytes, kernel->params_bytes, request->params_bytes);
        check(request->block_threads > kernel->max_threads || request->block_threads == 0, Fault::Threads, kernel->max_threads, request->block_threads);
        check(request->shared_bytes > MAX_SHARED_BYTES, Fault::SharedBytes, MAX_SHARED_BYTES, request->shared_bytes);
    }
    if (failure->fault != Fault::None) return;
    Launch now{*request, *kernel, Random{request->seed}};
    launch = &now;
    here.block_size = {request->block_threads, 1, 1};
    here.grid_size = {request->grid_x, request->grid_y, 1};
    run_all();
    launch = nullptr;
    *stats = now.stats;
    *failure = now.failure;
}

// The name of the kernel number `index`, or null behind the last.
extern "C" const char* mira_emulation_kernel(u64 index) {
    const Registration* kernel = kernels;
    while (kernel != nullptr && index-- > 0) kernel = kernel->next;
    return kernel == nullptr ? nullptr : kernel->name;
}
