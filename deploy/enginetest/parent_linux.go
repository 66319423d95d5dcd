package enginetest

import "syscall"

// dieWithParent lets the kernel end a child when this process ends, even by SIGKILL.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
