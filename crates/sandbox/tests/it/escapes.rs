//! The escape battery: attempts to get out, each as a small program run inside, in tier 2 and tier 1. An attempt passes if it is denied
//! and nothing changed outside; its control, the same program outside, must win.
//!
//! Left out, with the reason:
//!
//! | attempt | tier | why |
//! |---|---|---|
//! | 16 replace `.git/hooks`, `AGENTS.md` by a program | 1 | Landlock only adds rights down a tree; the file tools refuse in both tiers, and the export leaves out what Git runs |
//! | 43 the egress proxy | both | belongs to the crate of the proxy |
//!
//! Controls that need root (12 devices, 19 kernel settings, 30 cgroups) are run as root only; the attempt itself always.
use crate::place::{CONTAINED, Place};
use crate::world::{battle, is_root};

/// Number, name, program, whether its control needs root.
type Attempt = (u8, &'static str, &'static str, bool);

/// Files.
const FILES: &[Attempt] = &[
    (1, "read the password file", "for p in ['/etc/shadow', O+'/secret.txt', O+'/etc/shadow']: attempt(open, p, 'rb')", false),
    (2, "read the home folder", "for p in ['home/.ssh/id_ed25519','home/.maos/config.yml']: attempt(read, O+'/'+p)", false),
    (
        3,
        "write system folders",
        "targets=[O+'/etc'] if os.getcwd().startswith(O) else ['/etc','/usr','/usr/bin','/','/home','/run',O,O+'/etc']\n\
         for t in targets: attempt(open, t+'/escaped', 'w')",
        false,
    ),
    (4, "write above the root", "attempt(open, '../../escaped', 'w')", false),
    (8, "hard link to a file outside", "attempt(os.link, O+'/secret.txt', 'hard')\nattempt(os.rename, O+'/etc/shadow', 'moved')", false),
    (
        9,
        "roots of processes",
        "for p in ['self','thread-self','1',str(PID),str(os.getppid())]:\n\
         \x20for d in ['root'+O, 'cwd']: attempt(read, '/proc/'+p+'/'+d+'/secret.txt')",
        false,
    ),
    (10, "environment of other processes", "for p in glob.glob('/proc/[0-9]*/environ')+[f'/proc/{PID}/environ']: attempt(read, p)", false),
    (
        12,
        "devices",
        "for d in ['/dev/vda','/dev/sda','/dev/kvm','/dev/mem','/dev/kmsg','/dev/port']: attempt(os.open, d, os.O_RDWR)\n\
         attempt(os.mknod, 'disk', 0o600|stat.S_IFBLK, os.makedev(254,0))\n\
         attempt(os.mknod, 'null', 0o600|stat.S_IFCHR, os.makedev(1,3))",
        true,
    ),
    (
        13,
        "set-user-id files",
        "def make(how):\n\
         \x20open('s','w').close(); how(); return bool(os.stat('s').st_mode & 0o6000)\n\
         attempt(make, lambda: os.chmod('s',0o4755)); attempt(make, lambda: os.chmod('s',0o2755))\n\
         def create(mode):\n\
         \x20os.umask(0); fd=os.open('t'+oct(mode), os.O_CREAT|os.O_WRONLY, mode); return bool(os.fstat(fd).st_mode & 0o6000)\n\
         attempt(create, 0o4755); attempt(create, 0o2755)",
        false,
    ),
    (
        14,
        "write to another workspace",
        "attempt(open, O+'/other/files/planted', 'w'); attempt(os.unlink, O+'/other/files/notes.txt')",
        false,
    ),
    (15, "read another workspace", "attempt(read, O+'/other/files/notes.txt'); attempt(os.listdir, O+'/other/files')", false),
    (17, "rename the root", "r=os.getcwd()\nattempt(os.rename, r, r+'-moved')\nattempt(os.rename, os.path.dirname(r), r+'2')", false),
    (
        18,
        "file handles",
        "h=ctypes.create_string_buffer(136); struct.pack_into('I',h,0,128); m=ctypes.c_int()\n\
         r,e=call(303, -100, O.encode() if os.path.exists(O) else b'/', h, ctypes.byref(m), 0)\n\
         if r==0: won('name_to_handle_at')\n\
         r,e=call(304, -100, h, 0)\n\
         if e!=errno.EPERM: won('open_by_handle_at')",
        false,
    ),
    (
        19,
        "kernel settings",
        "for p in ['/proc/sys/kernel/core_pattern','/proc/sys/kernel/hostname','/proc/sys/vm/swappiness','/proc/sysrq-trigger',\
         '/sys/kernel/uevent_helper','/sys/kernel/mm/transparent_hugepage/enabled']: attempt(os.open, p, os.O_WRONLY)",
        true,
    ),
    (
        0,
        "modes, owners and times of files outside",
        "before=os.stat(O).st_mode if os.path.exists(O) else None\n\
         for f in [lambda: os.chmod(O+'/etc',0o777), lambda: os.utime(O+'/secret.txt',(1,1)), lambda: os.truncate(O+'/secret.txt',0),\
         lambda: os.setxattr(O+'/secret.txt',b'user.x',b'y'), lambda: os.chmod('/usr/bin',0o777), lambda: os.mkdir(O+'/new')]:\n\
         \x20try: f()\n\
         \x20except OSError as e: print('denied', e)\n\
         try:\n\
         \x20if os.stat(O+'/etc').st_mode & 0o777 == 0o777 or os.stat(O+'/secret.txt').st_mtime == 1: won('attributes')\n\
         except OSError as e: print('denied', e)",
        false,
    ),
];

/// Processes.
const PROCESSES: &[Attempt] = &[
    (
        21,
        "kill, trace or read the server",
        "attempt(os.kill, PID, 0)\n\
         attempt(os.sched_setaffinity, PID, {0})\n\
         attempt(resource.prlimit, PID, resource.RLIMIT_NOFILE, (1,1))\n\
         attempt(os.setpriority, os.PRIO_PROCESS, PID, 19)\n\
         b=ctypes.create_string_buffer(64)\n\
         class V(ctypes.Structure): _fields_=[('b',ctypes.c_void_p),('l',ctypes.c_size_t)]\n\
         v=V(ctypes.addressof(b),64)\n\
         for n in (310,311):\n\
         \x20r,e=call(n, PID, ctypes.byref(v), 1, ctypes.byref(v), 1, 0)\n\
         \x20if e not in (errno.EPERM,): won(n)\n\
         r,e=call(101, 16, PID, 0, 0)\n\
         if r==0: won('ptrace')\n\
         attempt(os.kill, PID, signal.SIGKILL)",
        false,
    ),
    (
        28,
        "type into the terminal",
        "buf=ctypes.create_string_buffer(b'x')\n\
         for request in (0x5412, 0x541c, 0x100005412, 0xffffffff0000541c):\n\
         \x20r,e=call(16, 0, ctypes.c_ulong(request), buf)\n\
         \x20if e!=errno.EPERM: won(hex(request))",
        false,
    ),
    (
        30,
        "cgroups",
        "for p in ['/sys/fs/cgroup'+c for c in ('','/memory','/pids','/cpu','/freezer','/devices','/unified')]:\n\
         \x20for f in ('cgroup.procs','release_agent','tasks','notify_on_release'): attempt(os.open, p+'/'+f, os.O_WRONLY)",
        true,
    ),
    (
        31,
        "own namespaces and mounts",
        "for flag in (0x10000000,0x20000,0x40000000,0x10020000):\n\
         \x20r,e=call(272, flag)\n\
         \x20if r==0: won('unshare')\n\
         r,e=call(56, 0x10000000|17, 0, 0, 0, 0)\n\
         if r==0: os._exit(0)\n\
         if r>0: won('clone')\n\
         r,e=call(165, b'none', b'/tmp', b'tmpfs', 0, 0)\n\
         if r==0: won('mount')\n\
         for n in (428,429,430,432,155,161,308):\n\
         \x20r,e=call(n, 0,0,0,0,0)\n\
         \x20if e not in (errno.EPERM,): won(n)",
        false,
    ),
    (
        32,
        "set-user-id programs",
        "if libc.prctl(39,0,0,0,0)!=1: won('new privileges')\n\
         if os.getcwd()=='/workspace' and not os.statvfs('/usr').f_flag & os.ST_NOSUID: won('nosuid is missing')",
        false,
    ),
    (
        33,
        "system calls of x32",
        "if os.fork()==0:\n\
         \x20call(0x40000000+39)\n\
         \x20won('x32 was not killed'); os._exit(0)\n\
         print('ended', os.wait())",
        false,
    ),
    (
        33,
        "system calls of i386",
        "import mmap\n\
         m=mmap.mmap(-1,4096,prot=7); m.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')\n\
         f=ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\n\
         if os.fork()==0:\n\
         \x20f(); won('i386 was not killed'); os._exit(0)\n\
         print('ended', os.wait())",
        false,
    ),
    (
        34,
        "io_uring",
        "p=ctypes.create_string_buffer(256)\n\
         for n in (425,426,427):\n\
         \x20r,e=call(n, 4, p, 0, 0, 0, 0)\n\
         \x20if e!=errno.EPERM: won(n)",
        false,
    ),
    (
        35,
        "userfaultfd, bpf, perf, keys and the like",
        "for n in (323,321,298,250,248,249,447,300,246,320,175,313,176,167,168,169,227,305,163,179,103,170,171,312,438,448):\n\
         \x20if n==169 and os.getcwd().startswith(O): continue\n\
         \x20r,e=call(n, -1, 0, 0, 0, 0)\n\
         \x20if e!=errno.EPERM: won(n)",
        false,
    ),
];

/// Network.
const NETWORK: &[Attempt] = &[
    (
        36,
        "TCP to the internet, to MAOS, to databases, to the metadata service (36, 37, 38, 39)",
        "for a in [('1.1.1.1',443),('169.254.169.254',80),('127.0.0.1',8000),('127.0.0.1',5432),('fd00:ec2::254',80)]+TCP:\n\
         \x20if os.getcwd().startswith(O) and a not in TCP: continue\n\
         \x20attempt(lambda: socket.create_connection(a, 5))",
        false,
    ),
    (
        40,
        "UDP and DNS",
        "def send(a): s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.sendto(b'x',a); s.settimeout(0.01); return a[1]==UDP and os.getcwd().startswith(O)\n\
         for a in [('127.0.0.1',UDP),('8.8.8.8',53)]: attempt(send, a)\n\
         if not os.getcwd().startswith(O): attempt(socket.getaddrinfo, 'example.com', 443)",
        false,
    ),
    (
        41,
        "raw, netlink, packet, vsock and other sockets",
        "for f,t,p in [(2,3,1),(2,3,255),(10,3,58),(16,3,0),(16,2,9),(17,3,0),(17,2,768),(40,1,0),(38,5,0),(31,3,1),(1<<32|16,3,0)]:\n\
         \x20r,e=call(41, ctypes.c_long(f), t, p)\n\
         \x20if e!=errno.EPERM: won((f,t,p))",
        false,
    ),
    (
        42,
        "Unix sockets by path and by name",
        "for a in [O+'/docker.sock','\\0'+ABSTRACT,'/run/docker.sock','/var/run/postgresql/.s.PGSQL.5432','/run/dbus/system_bus_socket']:\n\
         \x20attempt(lambda: socket.socket(socket.AF_UNIX).connect(a))",
        false,
    ),
    (
        44,
        "no proxy, straight out",
        "for k in list(os.environ):\n\
         \x20if 'proxy' in k.lower(): del os.environ[k]\n\
         def straight(): s=socket.create_connection(TCP[0],5); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n\
         attempt(straight)",
        false,
    ),
];

async fn all_of(attempts: &[Attempt]) {
    for way in CONTAINED {
        let place = Place::new(way).await;
        for (number, name, code, root_control) in attempts {
            let name = format!("{number} {name}");
            battle(&place, &name, code, is_root() || !root_control).await;
        }
    }
}

#[tokio::test]
async fn files_outside_cannot_be_reached() {
    all_of(FILES).await;
}

#[tokio::test]
async fn other_processes_and_the_kernel_cannot_be_reached() {
    all_of(PROCESSES).await;
}

#[tokio::test]
async fn the_network_cannot_be_reached() {
    all_of(NETWORK).await;
}
