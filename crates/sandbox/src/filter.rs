//! The system call filter: a deny-list, because programs of agents are ordinary programs. What is denied answers `EPERM`, foreign
//! system call tables (i386, x32) kill.
//!
//! Invariant: every argument that the kernel reads as 32 bits is compared as 32 bits.
use crate::tier::Tier;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    sock_filter,
};
use std::collections::BTreeMap;

/// What the filter depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) tier: Tier,
    /// Landlock's version; below 3 it cannot stop `truncate`.
    pub(crate) abi: i32,
    /// A memory cgroup counts memory that belongs to no process.
    pub(crate) memory_cgroup: bool,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// System calls of x32 carry this bit.
const X32_BIT: u32 = 0x4000_0000;
const ADDR_QUERY_PERSONALITY: u64 = 0xffff_ffff;
const S_ISUID: u64 = 0o4000;
const S_ISGID: u64 = 0o2000;
/// `O_TMPFILE` without the bit of `O_DIRECTORY` that it includes.
const O_TMPFILE_BIT: u64 = 0o20_000_000;

/// Denied in every tier, whatever the arguments.
#[rustfmt::skip]
const DENIED: &[c_long] = &[
    // other processes
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_process_madvise, libc::SYS_process_mrelease,
    libc::SYS_kcmp, libc::SYS_pidfd_getfd, libc::SYS_move_pages, libc::SYS_migrate_pages,
    // large kernel surfaces
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register, libc::SYS_fanotify_init, libc::SYS_memfd_secret, libc::SYS_lookup_dcookie,
    // keys
    libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key,
    // mounts and namespaces
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_mount_setattr, libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_fsopen,
    libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_unshare, libc::SYS_setns,
    libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at,
    // the machine
    libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module,
    libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_reboot, libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime,
    libc::SYS_adjtimex, libc::SYS_acct, libc::SYS_quotactl, libc::SYS_quotactl_fd, libc::SYS_syslog, libc::SYS_vhangup,
    libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_nfsservctl,
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[c_long] = &[libc::SYS_ioperm, libc::SYS_iopl, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS__sysctl];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[c_long] = &[];

/// Without an own IPC namespace these reach other runs of the same user.
#[rustfmt::skip]
const SHARED_IPC: &[c_long] = &[
    libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_semget, libc::SYS_semop, libc::SYS_semctl, libc::SYS_semtimedop,
    libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv, libc::SYS_msgctl, libc::SYS_mq_open, libc::SYS_mq_unlink,
];

/// Attributes of files: Landlock does not cover them, so in tier 1, where files of the same user are in sight, they do nothing. They
/// answer success because programs treat a refusal as fatal.
#[rustfmt::skip]
const NO_EFFECT: &[c_long] = &[
    libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchmodat2, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_utimensat,
];
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const NO_EFFECT_HERE: &[c_long] =
    &[libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat];
#[cfg(not(target_arch = "x86_64"))]
const NO_EFFECT_HERE: &[c_long] = &[];

/// Denied in tier 1 with "not supported", which programs expect.
#[rustfmt::skip]
const ATTRIBUTES: &[c_long] = &[
    libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr,
];

/// The programs to install, in this order.
pub(crate) fn programs(facts: Facts) -> Result<Vec<BpfProgram>, String> {
    let mut denied: Rules = BTreeMap::new();
    for number in DENIED.iter().chain(DENIED_HERE) {
        denied.insert(*number, Vec::new());
    }
    arguments(&mut denied)?;
    sockets(&mut denied, facts.tier)?;
    if !facts.memory_cgroup {
        denied.insert(libc::SYS_memfd_create, Vec::new());
    }
    // The arguments of these are in memory that a filter cannot read; programs fall back to the older calls.
    let absent: Rules = [libc::SYS_clone3, libc::SYS_openat2].into_iter().map(|n| (n, Vec::new())).collect();
    let mut programs = Vec::new();
    if facts.tier == Tier::Lsm {
        for number in SHARED_IPC {
            denied.insert(*number, Vec::new());
        }
        if facts.abi < 3 {
            denied.insert(libc::SYS_truncate, Vec::new());
        }
        let nothing: Rules = NO_EFFECT.iter().chain(NO_EFFECT_HERE).map(|n| (*n, Vec::new())).collect();
        programs.push(compile(nothing, 0)?);
        programs.push(compile(ATTRIBUTES.iter().map(|n| (*n, Vec::new())).collect(), libc::ENOTSUP)?);
    }
    set_id_bits(&mut denied)?;
    programs.push(compile(absent, libc::ENOSYS)?);
    programs.push(compile(denied, libc::EPERM)?);
    Ok(programs)
}

/// Calls that are denied for some arguments.
fn arguments(rules: &mut Rules) -> Result<(), String> {
    for request in [libc::TIOCSTI, libc::TIOCLINUX] {
        add(rules, libc::SYS_ioctl, &[(1, Op::Eq, request)])?;
    }
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    for bit in (0..32).map(|n| 1_u64 << n).filter(|bit| u64::from(namespaces.cast_unsigned()) & bit != 0) {
        add(rules, libc::SYS_clone, &[(0, Op::MaskedEq(bit), bit)])?;
    }
    add(rules, libc::SYS_personality, &[(0, Op::Ne, 0), (0, Op::Ne, ADDR_QUERY_PERSONALITY)])?;
    for kind in [libc::S_IFCHR, libc::S_IFBLK] {
        let kind = u64::from(kind);
        add(rules, libc::SYS_mknodat, &[(2, Op::MaskedEq(u64::from(libc::S_IFMT)), kind)])?;
        #[cfg(target_arch = "x86_64")]
        add(rules, libc::SYS_mknod, &[(1, Op::MaskedEq(u64::from(libc::S_IFMT)), kind)])?;
    }
    // Limits and priorities of other processes of the same user.
    for number in [libc::SYS_prlimit64, libc::SYS_sched_setaffinity, libc::SYS_sched_setscheduler, libc::SYS_sched_setparam] {
        add(rules, number, &[(0, Op::Ne, 0)])?;
    }
    add(rules, libc::SYS_sched_setattr, &[(0, Op::Ne, 0)])?;
    // Anything but the calling process: the first argument is the kind (process = 0, or 1 for ioprio_set), the second its id.
    add(rules, libc::SYS_setpriority, &[(0, Op::Ne, 0)])?;
    add(rules, libc::SYS_setpriority, &[(1, Op::Ne, 0)])?;
    add(rules, libc::SYS_ioprio_set, &[(0, Op::Ne, 1)])?;
    add(rules, libc::SYS_ioprio_set, &[(1, Op::Ne, 0)])?;
    Ok(())
}

/// Tier 1 shares the machine's network, so it gets no sockets but pairs; tier 2 has a network of its own.
fn sockets(rules: &mut Rules, tier: Tier) -> Result<(), String> {
    if tier == Tier::Lsm {
        rules.insert(libc::SYS_socket, Vec::new());
        return Ok(());
    }
    let allowed = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|family| u64::from(family.cast_unsigned()));
    add(rules, libc::SYS_socket, &allowed.map(|family| (0, Op::Ne, family)))?;
    let raw = u64::from(libc::SOCK_RAW.cast_unsigned());
    add(rules, libc::SYS_socket, &[(1, Op::MaskedEq(0xf), raw)])
}

/// No file may become set-user-id or set-group-id.
fn set_id_bits(rules: &mut Rules) -> Result<(), String> {
    for bit in [S_ISUID, S_ISGID] {
        for (number, argument) in [(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (libc::SYS_fchmodat2, 2)] {
            add(rules, number, &[(argument, Op::MaskedEq(bit), bit)])?;
        }
        for creates in [u64::from(libc::O_CREAT.cast_unsigned()), O_TMPFILE_BIT] {
            add(rules, libc::SYS_openat, &[(2, Op::MaskedEq(creates), creates), (3, Op::MaskedEq(bit), bit)])?;
            #[cfg(target_arch = "x86_64")]
            add(rules, libc::SYS_open, &[(1, Op::MaskedEq(creates), creates), (2, Op::MaskedEq(bit), bit)])?;
        }
        add(rules, libc::SYS_mknodat, &[(2, Op::MaskedEq(bit), bit)])?;
        #[cfg(target_arch = "x86_64")]
        {
            add(rules, libc::SYS_chmod, &[(1, Op::MaskedEq(bit), bit)])?;
            add(rules, libc::SYS_creat, &[(1, Op::MaskedEq(bit), bit)])?;
            add(rules, libc::SYS_mknod, &[(1, Op::MaskedEq(bit), bit)])?;
        }
    }
    Ok(())
}

/// One more combination of arguments for which a call is denied.
fn add(rules: &mut Rules, number: c_long, conditions: &[(u8, Op, u64)]) -> Result<(), String> {
    let conditions: Result<Vec<_>, _> =
        conditions.iter().map(|(argument, op, value)| SeccompCondition::new(*argument, Len::Dword, op.clone(), *value)).collect();
    let rule = conditions.and_then(SeccompRule::new).map_err(|e| format!("system call filter: {e}"))?;
    rules.entry(number).or_default().push(rule);
    Ok(())
}

fn compile(rules: Rules, errno: i32) -> Result<BpfProgram, String> {
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(|e| format!("system call filter: {e}"))?;
    let action = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).map_err(|e| format!("system call filter: {e}"))?;
    let program: BpfProgram = filter.try_into().map_err(|e| format!("system call filter: {e}"))?;
    Ok(if cfg!(target_arch = "x86_64") { kill_x32().into_iter().chain(program).collect() } else { program })
}

/// Kills on a system call number of x32. Jumps in a filter are relative, so this can stand before any other.
fn kill_x32() -> [sock_filter; 3] {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let at_least = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    [
        sock_filter { code: load, jt: 0, jf: 0, k: 0 },
        sock_filter { code: at_least, jt: 0, jf: 1, k: X32_BIT },
        sock_filter { code: answer, jt: 0, jf: 0, k: libc::SECCOMP_RET_KILL_PROCESS },
    ]
}
