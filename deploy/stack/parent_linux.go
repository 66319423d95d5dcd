package main

import "syscall"

// endWithParent keeps a terminal's Ctrl-C from a process, and lets the kernel end it when this one is killed.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
