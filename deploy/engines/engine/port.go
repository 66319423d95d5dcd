package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Free ports are looked for below the range that the kernel gives to outgoing connections, so that none of
// those takes one between the look and the engine's start.
const lowestPort, highestPort = 18000, 32000

// given are the ports that FreePorts has returned: whoever asked may not listen yet. Ports are the machine's, so this is the
// process's.
var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// FreePorts returns n ports of 127.0.0.1 on which nothing listens, none of which it has returned before in this process.
func FreePorts(n int) ([]int, error) {
	given.Lock()
	defer given.Unlock()
	ports := make([]int, 0, n)
	for range 100 * (n + 1) {
		if len(ports) == n {
			return ports, nil
		}
		port := lowestPort + rand.IntN(highestPort-lowestPort) //nolint:gosec // nothing secret about a port
		if !given.ports[port] && free(address(port)) == nil {
			given.ports[port] = true
			ports = append(ports, port)
		}
	}
	return nil, fmt.Errorf("found no %d free ports between %d and %d", n, lowestPort, highestPort)
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// free says, with an error that wraps ErrPortTaken, when something listens on addr.
func free(addr string) error {
	return soon(func() error {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("%s %w", addr, ErrPortTaken)
		}
		if err != nil {
			return fmt.Errorf("%s can't be used: %w", addr, err)
		}
		return l.Close()
	})
}

// soon tries f for a tenth of a second. A child that another goroutine is starting holds copies of all open
// files until its exec, so a port or a lock that was let go can seem taken for an instant.
func soon(f func() error) (err error) {
	for range 20 {
		if err = f(); err == nil {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

// portOr is port, or a free one for 0.
func portOr(port int) (int, error) {
	if port != 0 {
		return port, nil
	}
	ports, err := FreePorts(1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}
