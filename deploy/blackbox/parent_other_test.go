//go:build !linux

package blackbox

import "os/exec"

// dieWithParent is Linux's alone; elsewhere the test's cleanup ends the process.
func dieWithParent(*exec.Cmd) {}
