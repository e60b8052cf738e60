//! Asking for memory before it is read. The one place of this crate with unsafe code: the compiler has
//! no safe name for the instruction, and reading instead makes the processor wait; see
//! [`warm`](crate::warm) for what it is worth.
#![allow(unsafe_code)]

/// Bytes that come into the cache together.
pub(crate) const LINE: usize = 64;

/// Asks for the cache line that `value` begins in. Reads nothing and changes nothing.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing that the program could see; any address may be given.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Asks for all the cache lines of `values`.
#[inline(always)]
pub(crate) fn prefetch_all<T>(values: &[T]) {
    for value in values.iter().step_by((LINE / size_of::<T>()).max(1)) {
        prefetch(value);
    }
    // Steps of a little less than a line never miss one; the last value may reach into another.
    if let Some(last) = values.last() {
        prefetch(last);
    }
}
