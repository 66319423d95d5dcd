package engine

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// RunOwned runs cmd to its end, in a session of its own. When cmd's context ends, its whole process group
// is killed; when this process ends, however that happens, the kernel kills cmd.
func RunOwned(cmd *exec.Cmd) error {
	if err := StartOwned(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// StartOwned is RunOwned without the wait, which is left to the caller.
func StartOwned(cmd *exec.Cmd) error {
	cmd.SysProcAttr = attributes(true)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return onLastingThread(cmd.Start)
}

// lastingThread runs functions on one thread that lives as long as this process.
var lastingThread = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range calls {
			f()
		}
	}()
	return calls
})

// onLastingThread calls f on a thread that never ends: the kernel's order to end a child with its parent
// (PDEATHSIG) looks at the thread that started the child, and the runtime may end any other one.
func onLastingThread(f func() error) error {
	done := make(chan error)
	lastingThread() <- func() { done <- f() }
	return <-done
}
