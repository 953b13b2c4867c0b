//! A SQLite file layer between the database and the disk: counts what is written, and has no room left when it is told to.
//!
//! It is the system's own layer with one function exchanged, and the default of this process. What it counts and refuses is
//! of the thread that writes: a device's store belongs to one thread, and tests of other threads never notice.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use rusqlite::ffi;

thread_local! {
    static WRITTEN: Cell<u64> = const { Cell::new(0) };
    static WRITES: Cell<u64> = const { Cell::new(0) };
    /// Writes until the disk is full; `None`: it never is.
    static ROOM: Cell<Option<u64>> = const { Cell::new(None) };
}

type Open = unsafe extern "C" fn(
    *mut ffi::sqlite3_vfs,
    *const c_char,
    *mut ffi::sqlite3_file,
    c_int,
    *mut c_int,
) -> c_int;
type Write = unsafe extern "C" fn(*mut ffi::sqlite3_file, *const c_void, c_int, ffi::sqlite3_int64) -> c_int;
static SYSTEM: OnceLock<(Open, OnceLock<Write>)> = OnceLock::new();

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    match ROOM.get() {
        Some(0) => return ffi::SQLITE_FULL,
        room => ROOM.set(room.map(|n| n - 1)),
    }
    WRITES.set(WRITES.get() + 1);
    WRITTEN.set(WRITTEN.get() + u64::try_from(length).unwrap_or(0));
    let (_, system) = SYSTEM.get().expect("it was set before a file was opened");
    let system = system.get().expect("it was set when the file was opened");
    // SAFETY: the file was opened by the system's layer, whose function this is.
    unsafe { system(file, bytes, length, at) }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let (system, system_write) = SYSTEM.get().expect("it was set before the layer was registered");
    // SAFETY: arguments are passed on as they came; `vfs` is a copy of the system's own with all its data.
    let answer = unsafe { system(vfs, name, file, flags, out) };
    // SAFETY: after SQLITE_OK the file's methods are set, to a table that lives as long as the process.
    unsafe {
        if answer == ffi::SQLITE_OK && !(*file).pMethods.is_null() {
            let mut methods = Box::new(*(*file).pMethods);
            if let Some(theirs) = methods.xWrite {
                system_write.get_or_init(|| theirs);
            }
            methods.xWrite = Some(write);
            (*file).pMethods = Box::leak(methods);
        }
    }
    answer
}

/// The exchanged layer, as this thread has it.
pub struct Faults(());

impl Faults {
    pub fn begin() -> Self {
        SYSTEM.get_or_init(|| {
            // SAFETY: the default layer is there after initialisation; the copy lives for ever.
            unsafe {
                ffi::sqlite3_initialize();
                let found = ffi::sqlite3_vfs_find(std::ptr::null());
                let mut ours = Box::new(*found);
                let system = ours.xOpen.expect("a layer can open files");
                ours.xOpen = Some(open);
                ours.zName = c"faulty".as_ptr();
                ours.pNext = std::ptr::null_mut();
                assert_eq!(ffi::sqlite3_vfs_register(Box::leak(ours), 1), ffi::SQLITE_OK);
                (system, OnceLock::new())
            }
        });
        Self(())
    }
    /// Writes and bytes of this thread since the last call.
    pub fn take(&self) -> (u64, u64) {
        (WRITES.take(), WRITTEN.take())
    }
    /// So many writes more, then the disk is full; `None`: there is room again.
    pub fn room(&self, writes: Option<u64>) {
        ROOM.set(writes);
    }
}
impl Drop for Faults {
    fn drop(&mut self) {
        ROOM.set(None);
    }
}
