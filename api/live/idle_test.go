package live

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// BenchmarkIdleSockets says what an open socket costs the server while nothing happens, each with a user of its own,
// after a ping. The clients are another process.
func BenchmarkIdleSockets(b *testing.B) {
	const sockets = 5000
	listener, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	g := quiet(b)
	server := &http.Server{Handler: g, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	for b.Loop() {
		before := inUse()
		clients := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^$")
		clients.Env = append(os.Environ(), "LIVE_CLIENTS="+strconv.Itoa(sockets), "LIVE_URL=ws://"+listener.Addr().String())
		in, err := clients.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := clients.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := clients.Start(); err != nil {
			b.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			b.Fatal(line, err)
		}
		g.mu.Lock()
		for _, w := range g.watches {
			for _, s := range w.all() {
				s.ping()
			}
		}
		g.mu.Unlock()
		for runtime.NumGoroutine() > sockets+50 {
			time.Sleep(10 * time.Millisecond)
		}
		b.ReportMetric(float64(inUse()-before)/sockets, "B/socket")
		b.ReportMetric(float64(runtime.NumGoroutine())/sockets, "goroutines/socket")
		_ = in.Close()
		_ = clients.Wait()
		for {
			g.mu.Lock()
			left := len(g.watches)
			g.mu.Unlock()
			if left == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func inUse() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// clients opens sockets and keeps them until its standard input closes.
func clients(n int, url string) {
	for i := range n {
		conn, _, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {fmt.Sprint("Bearer u", i)}}})
		if err == nil {
			_, _, err = conn.Read(context.Background())
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		conn.CloseRead(context.Background())
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
}
