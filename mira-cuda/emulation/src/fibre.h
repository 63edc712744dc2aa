// Fibres: stacks that take turns on one OS thread.
//
// A switch saves the registers which a function call must preserve and loads the other stack's: a few nanoseconds, where `swapcontext`
// makes two system calls. Stacks are pooled for each OS thread and never given back before it ends.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <vector>

#if defined(EMULATION_FORCE_UCONTEXT) || !(defined(__x86_64__) || defined(__aarch64__))
#define EMULATION_UCONTEXT 1
#include <ucontext.h>
#endif

namespace emulation {

constexpr size_t STACK_BYTES = 64 * 1024;

#ifdef EMULATION_UCONTEXT
using Context = ucontext_t;
#else
using Context = void*; // the stack pointer; the rest lies on the stack
#endif

// Saves the running context in `from` and goes on with `to`.
void switch_context(Context& from, Context& to);

// A context that will call `entry`, which must never return, on `stack`.
void make_context(Context& context, unsigned char* stack, void (*entry)());

// Stacks of one OS thread.
class Stacks {
  public:
    ~Stacks();
    unsigned char* take();
    void give_back(unsigned char* stack) { free_.push_back(stack); }

  private:
    std::vector<void*> slabs_;
    std::vector<unsigned char*> free_;
};

// Whether a fibre that has run on `stack` left its last bytes alone.
bool stack_is_whole(const unsigned char* stack);

} // namespace emulation
