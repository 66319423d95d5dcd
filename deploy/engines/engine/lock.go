package engine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const lockSuffix = ".lock"

func lockFile(dir, name string) string { return filepath.Join(dir, name+lockSuffix) }

// Names lists what has ever been started in dir, running or not.
func Names(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+lockSuffix))
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), lockSuffix)
	}
	return files, nil
}

// claim takes the lock of name in dir for a process that is about to start.
func claim(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	f, err := os.OpenFile(lockFile(dir, name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := soon(func() error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s %w in %s", name, ErrRunning, dir)
	}
	return f, nil
}

// held says whether a living process has the lock. A file that isn't there is held by nobody.
func held(lock string) bool {
	f, err := os.OpenFile(lock, os.O_RDWR, 0) //nolint:gosec // a lock file of ours
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // nothing was written
	// A shared lock: those who only ask don't see each other.
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// holders lists the processes that hold lock as descriptor 3, parents and children alike.
func holders(lock string) ([]int, error) {
	want, err := os.Stat(lock)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for the processes of %s: %w", lock, err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// A process that is gone meanwhile, or belongs to another user, can't be ours.
		if has, err := os.Stat(fmt.Sprintf("/proc/%d/fd/3", pid)); err == nil && os.SameFile(has, want) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// roots leaves out the processes whose parent is in the list: a database's workers take a signal as
// something else than an order to end.
func roots(pids []int) []int {
	listed := make(map[int]bool, len(pids))
	for _, pid := range pids {
		listed[pid] = true
	}
	var out []int
	for _, pid := range pids {
		if !listed[parent(pid)] {
			out = append(out, pid)
		}
	}
	return out
}

func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// pid (name) state parent …, where the name may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(string(fields[1]))
	return ppid
}

// killAll ends every holder of lock with SIGKILL and waits until there is none.
func killAll(lock string) error {
	for end := time.Now().Add(stopWithin); held(lock); time.Sleep(lookEvery) {
		pids, err := holders(lock)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes %v of %s did not end", pids, lock)
		}
	}
	return nil
}

// stopSignal is what makes an engine end in order at once, without waiting for its clients to leave.
func stopSignal(name string) syscall.Signal {
	if name == postgresName {
		return syscall.SIGINT
	}
	return syscall.SIGTERM
}

// lastLine is the last line of a log that says something, for an error of one sentence.
func lastLine(path string) string {
	text, err := os.ReadFile(path) //nolint:gosec // a log of ours
	if err != nil {
		return "no log"
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return "its log is empty"
}
