// Stacks of fibres, and the switch from one to another.

#include "fibre.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

namespace emulation {

namespace {
constexpr size_t STACKS_IN_SLAB = 64;
// Stacks lie 64 KiB apart, so equal depths would share one set of every cache. Their tops are moved apart by some cache lines.
constexpr size_t COLOURS = 61, COLOUR_BYTES = 5 * 64;
constexpr uint64_t STACK_END = 0x5afe57ac5afe57acull;
} // namespace

Stacks::~Stacks() {
    for (void* slab : slabs_) munmap(slab, STACKS_IN_SLAB * STACK_BYTES);
}

unsigned char* Stacks::take() {
    if (free_.empty()) {
        void* slab = mmap(nullptr, STACKS_IN_SLAB * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (slab == MAP_FAILED) {
            perror("mira-cuda-emulation: no memory for the stacks of a launch's threads; use a smaller grid");
            abort();
        }
        slabs_.push_back(slab);
        for (size_t i = 0; i < STACKS_IN_SLAB; i++) {
            free_.push_back(static_cast<unsigned char*>(slab) + i * STACK_BYTES); // the highest is taken first
        }
    }
    unsigned char* stack = free_.back();
    free_.pop_back();
    memcpy(stack, &STACK_END, sizeof STACK_END);
    return stack;
}

bool stack_is_whole(const unsigned char* stack) { return memcmp(stack, &STACK_END, sizeof STACK_END) == 0; }

static unsigned char* top_of(unsigned char* stack) {
    const size_t colour = reinterpret_cast<uintptr_t>(stack) / STACK_BYTES % COLOURS;
    return stack + STACK_BYTES - colour * COLOUR_BYTES;
}

#ifdef EMULATION_UCONTEXT

void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

void make_context(Context& context, unsigned char* stack, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size_t(top_of(stack) - stack);
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}

#else

extern "C" void mira_emulation_switch(void** from, void* to);

#define EMULATION_STRING_(x) #x
#define EMULATION_STRING(x) EMULATION_STRING_(x)
#define EMULATION_SYMBOL EMULATION_STRING(__USER_LABEL_PREFIX__) "mira_emulation_switch"

#if defined(__x86_64__)
asm(".text\n"
    ".globl " EMULATION_SYMBOL "\n" EMULATION_SYMBOL ":\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n");
constexpr size_t SAVED = 8, RETURN = 6; // six registers, the return address, and a word that aligns the stack as a call would
#else
asm(".text\n.p2align 2\n"
    ".globl " EMULATION_SYMBOL "\n" EMULATION_SYMBOL ":\n"
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n  stp x25, x26, [sp, #48]\n"
    "  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
    "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
    "  ldp x19, x20, [sp]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n  ldp x25, x26, [sp, #48]\n"
    "  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n"
    "  ret\n");
constexpr size_t SAVED = 20, RETURN = 11; // x19 to x30 and d8 to d15; x30 is where `ret` goes
#endif

void switch_context(Context& from, Context& to) { mira_emulation_switch(&from, to); }

void make_context(Context& context, unsigned char* stack, void (*entry)()) {
    void** words = reinterpret_cast<void**>(top_of(stack)) - SAVED;
    memset(words, 0, SAVED * sizeof(void*));
    words[RETURN] = reinterpret_cast<void*>(entry);
    context = words;
}

#endif

} // namespace emulation
