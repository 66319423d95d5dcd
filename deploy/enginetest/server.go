package enginetest

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// Server is one engine that a test can take away and bring back at the same address. It is not safe for
// concurrent use.
type Server struct {
	Addr string // host:port, or a URI for MongoDB

	t       testing.TB
	start   func() (process, error)
	running process // nil while stopped
}

type process interface {
	Stop() // in order
	Kill() // as in a crash
	Pid() int
}

// Start brings a stopped engine back and returns once it answers, with what it kept.
func (s *Server) Start() {
	s.t.Helper()
	if s.running != nil {
		return
	}
	running, err := s.start()
	if err != nil {
		s.t.Fatalf("start the engine: %v", err)
	}
	s.running = running
}

// Stop ends the engine in order (SIGTERM) and returns when it is gone.
func (s *Server) Stop() {
	if s.running != nil {
		_ = syscall.Kill(s.running.Pid(), syscall.SIGCONT) // a frozen process would never see the SIGTERM
		s.running.Stop()
		s.running = nil
	}
}

// Kill ends the engine as a crash does (SIGKILL) and returns when it is gone.
func (s *Server) Kill() {
	if s.running != nil {
		s.running.Kill()
		s.running = nil
	}
}

// Freeze leaves the engine's connections open but answers nothing until Thaw (SIGSTOP): what a stalled
// machine looks like.
func (s *Server) Freeze() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	await(ctx, s.t, "the engine is frozen", func() bool { return stopped(s.running.Pid()) })
}

// Thaw lets a frozen engine go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if s.running == nil {
		s.t.Fatal("the engine is stopped")
	}
	if err := syscall.Kill(s.running.Pid(), sig); err != nil {
		s.t.Fatalf("signal the engine: %v", err)
	}
}
