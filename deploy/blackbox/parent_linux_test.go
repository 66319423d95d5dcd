package blackbox

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel end the process with this one, however that ends.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
