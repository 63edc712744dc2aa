//! Arrays of an operation's results, for what is in plain Rust.

use std::mem::MaybeUninit;

/// The values at `0..N`, written out one by one: LLVM, which may make vectors of them, takes a second for some fifty loops within one large
/// function, and a kernel has thousands. (`[x; N]` is a loop, too, unless `x` is a constant.)
#[inline(always)]
pub(crate) fn array<T: Copy, const N: usize>(f: impl Fn(usize) -> T) -> [T; N] {
    const { assert!(N <= 16, "so many are written out") };
    let mut array = MaybeUninit::<[T; N]>::uninit();
    let first = array.as_mut_ptr().cast::<T>();
    macro_rules! write {
        ($($i:literal)*) => {
            $(if $i < N {
                // SAFETY: it is within the array.
                unsafe { first.add($i).write(f($i)) };
            })*
        };
    }
    write!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    // SAFETY: all N elements, of which there are no more than 16, are written.
    unsafe { array.assume_init() }
}
