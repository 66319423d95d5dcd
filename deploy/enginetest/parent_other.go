//go:build !linux

package enginetest

import "syscall"

// dieWithParent keeps a terminal's Ctrl-C from the child, which is stopped in order instead. Outside Linux
// a SIGKILL of this process leaves redis-server running.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
