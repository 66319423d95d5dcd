//go:build !linux

package engine

import "syscall"

// attributes puts a process into a session of its own. Only Linux can end an owned process with its parent.
func attributes(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
