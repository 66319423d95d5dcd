package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	process "cartstream/deploy/engines/engine" // engine is a type here
)

var errTaken = errors.New("is taken")

// portFree fails with half a sentence, which wraps errTaken when something listens on addr.
func portFree(ctx context.Context, addr string) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(addr)
		return fmt.Errorf("port %s %w", port, errTaken)
	}
	if err != nil {
		return fmt.Errorf("%q can't be listened on: %w", addr, err)
	}
	return l.Close()
}

// freePort returns a port that it has never returned before, and that no outgoing connection gets.
func freePort() (int, error) {
	ports, err := process.FreePorts(1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}

// listen settles where the two servers of ours listen, and fails with one sentence where they can't.
func (s *stack) listen(ctx context.Context, env map[string]string, freePorts bool) error {
	for name, usual := range map[string]string{"HTTP_ADDR": ":8080", "OPS_ADDR": ":8090"} {
		addr := s.environ[name]
		switch {
		case addr != "":
		case freePorts:
			port, err := freePort()
			if err != nil {
				return err
			}
			addr = fmt.Sprintf("127.0.0.1:%d", port)
		default:
			addr = usual
		}
		if err := portFree(ctx, addr); errors.Is(err, errTaken) {
			return fmt.Errorf("%w: free it, or set %s to another address", err, name)
		} else if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		env[name] = addr
	}
	if env["HTTP_ADDR"] == env["OPS_ADDR"] {
		return fmt.Errorf("HTTP_ADDR and OPS_ADDR are both %q", env["HTTP_ADDR"])
	}
	return nil
}

// baseURL is where a client on this machine reaches what listens on addr.
func baseURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
