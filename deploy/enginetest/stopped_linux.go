package enginetest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// stopped says whether all of the process's threads are, which SIGSTOP brings about only after it returned.
func stopped(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(thread) //nolint:gosec // a file of the kernel
		if err != nil {
			continue // that thread is gone
		}
		// pid (name) state …, where the name may hold anything.
		if fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(fields) == 0 || fields[0][0] != 'T' {
			return false
		}
	}
	return true
}
