package engine

import "syscall"

// attributes puts a process into a session of its own, so that a Ctrl-C meant for whoever started it does
// not reach it. An owned one is killed by the kernel when its parent ends.
func attributes(owned bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if owned {
		a.Pdeathsig = syscall.SIGKILL
	}
	return a
}
