//! The system calls an engine may make: memory, threads, time, and reading and writing what it was handed. Everything
//! else answers EPERM, so that a library that probes for a feature goes on without it.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Calls that are allowed whatever their arguments. None of them takes a path (but the two `stat`s, which libc needs for
/// descriptors) or makes a descriptor that leads out of the process.
const ALWAYS: &[i64] = &[
    // Descriptors that exist already.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    // Sockets that exist already.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads and signals of this process.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpriority,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    // Time, chance, facts.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getcpu,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

#[cfg(target_arch = "x86_64")]
const ALWAYS_HERE: &[i64] =
    &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_dup2, libc::SYS_time, libc::SYS_arch_prctl];
#[cfg(target_arch = "aarch64")]
const ALWAYS_HERE: &[i64] = &[];

const FIONBIO: u64 = 0x5421;
/// The bits of a socket's type that are not flags.
const SOCKET_TYPE: u64 = 0xf;
const FCNTL: [i32; 6] =
    [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_GET_SEALS];

/// Two programs, to be installed in this order. `clone3` keeps its flags in memory, where a filter cannot look: it is
/// answered ENOSYS, and libc falls back to `clone`. (The strictest answer of all programs counts; the allow-list comes last
/// because it forbids installing anything more.)
pub fn programs() -> Result<[BpfProgram; 2], BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let no_clone3 = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, vec![])]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
        arch,
    )?;
    let allowed =
        SeccompFilter::new(rules()?, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow, arch)?;
    Ok([no_clone3.try_into()?, allowed.try_into()?])
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let when = |conditions: &[(u8, Op, u64)]| -> Result<SeccompRule, BackendError> {
        let conditions: Result<Vec<_>, _> = conditions
            .iter()
            .map(|(arg, op, v)| SeccompCondition::new(*arg, Len::Qword, op.clone(), *v))
            .collect();
        SeccompRule::new(conditions?)
    };
    // Arguments that the kernel reads as 32 bits: the upper half may hold anything.
    let when_int = |arg: u8, op: Op, v: u64| -> Result<SeccompRule, BackendError> {
        SeccompRule::new(vec![SeccompCondition::new(arg, Len::Dword, op, v)?])
    };
    let not_executable = || when(&[(2, Op::MaskedEq(libc::PROT_EXEC as u64), 0)]);
    let own_pid = u64::from(std::process::id());
    let thread = libc::CLONE_THREAD as u64;

    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALWAYS.iter().chain(ALWAYS_HERE).map(|&call| (call, vec![])).collect();
    rules.insert(libc::SYS_mmap, vec![not_executable()?]);
    rules.insert(libc::SYS_mprotect, vec![not_executable()?]);
    rules.insert(libc::SYS_clone, vec![when(&[(0, Op::MaskedEq(thread), thread)])?]);
    rules.insert(libc::SYS_tgkill, vec![when_int(0, Op::Eq, own_pid)?]);
    // Priority of the calling thread.
    rules.insert(libc::SYS_setpriority, vec![when(&[(0, Op::Eq, 0), (1, Op::Eq, 0)])?]);
    // Reading a limit, not setting one.
    rules.insert(libc::SYS_prlimit64, vec![when(&[(2, Op::Eq, 0)])?]);
    rules.insert(libc::SYS_prctl, vec![when_int(0, Op::Eq, libc::PR_SET_NAME as u64)?]);
    rules.insert(libc::SYS_ioctl, vec![when_int(1, Op::Eq, FIONBIO)?]);
    let fcntl: Result<Vec<_>, _> = FCNTL.iter().map(|&c| when_int(1, Op::Eq, c as u64)).collect();
    rules.insert(libc::SYS_fcntl, fcntl?);
    // The async runtime wakes itself through a pair of unix sockets. Streams only: a datagram socket sends to any path that
    // `sendmsg` names in memory, where a filter cannot look.
    rules.insert(
        libc::SYS_socketpair,
        vec![SeccompRule::new(vec![
            SeccompCondition::new(0, Len::Dword, Op::Eq, libc::AF_UNIX as u64)?,
            SeccompCondition::new(1, Len::Dword, Op::MaskedEq(SOCKET_TYPE), libc::SOCK_STREAM as u64)?,
        ])?],
    );
    // Sending on a connected socket, never to an address. With MSG_FASTOPEN a send is a `connect`, which a listening
    // socket that was shut down before would carry out, past landlock's look at `connect`.
    let no_connect = |arg| SeccompCondition::new(arg, Len::Dword, Op::MaskedEq(libc::MSG_FASTOPEN as u64), 0);
    rules.insert(libc::SYS_sendmsg, vec![SeccompRule::new(vec![no_connect(2)?])?]);
    let to_nobody = SeccompCondition::new(4, Len::Qword, Op::Eq, 0)?;
    rules.insert(libc::SYS_sendto, vec![SeccompRule::new(vec![to_nobody, no_connect(3)?])?]);
    Ok(rules)
}
