//go:build unix

package parking

import (
	"fmt"
	"os"
	"syscall"
)

// lock makes sure that nobody else has the file, in any process, until it is closed.
func lock(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("in use by another process: %w", err)
	}
	return nil
}
