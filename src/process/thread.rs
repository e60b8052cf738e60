//! Questions of a thread to the kernel about itself.

use std::time::Duration;

/// CPU time this thread has used (`CLOCK_THREAD_CPUTIME_ID`, clock_gettime(2)).
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "Linux always has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The CPUs this process may run on, in order (sched_getaffinity(2)); empty where that is refused.
pub fn allowed_cpus() -> Vec<usize> {
    let mut set = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the size given is that of the set, which the kernel fills.
    let result =
        unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: zeroed above and filled by the kernel.
    let set = unsafe { set.assume_init() };
    // SAFETY: `CPU_ISSET` reads the bit of a CPU below `CPU_SETSIZE`.
    let is_set = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    (0..libc::CPU_SETSIZE as usize).filter(is_set).collect()
}

/// CPUs that the process may use at a time: a quota (cgroups(7), `docker --cpus`) rounded up, or the CPUs it may
/// run on where there is none.
pub fn cpu_quota() -> usize {
    num_cpus::get().max(1)
}

/// Whether this process may pin a thread to `cpu`: tried on a thread of its own.
pub fn can_pin(cpu: usize) -> bool {
    let pin = move || {
        let mut set = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: an all-zero set is the empty set, and `CPU_SET` writes within it or not at all.
        unsafe { libc::CPU_SET(cpu, set.assume_init_mut()) };
        // SAFETY: the size given is that of the set.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set.as_ptr()) == 0 }
    };
    std::thread::spawn(pin).join().unwrap_or(false)
}

/// Makes this thread give way to the cores when they share a CPU with it: a nice value of 10
/// (setpriority(2), which on Linux is of the thread). A core that waits 4 ms for a snapshot's thread
/// would answer 4 ms late.
pub fn give_way() {
    // SAFETY: takes numbers only; 0 is the calling thread. A refusal changes nothing.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) };
}
