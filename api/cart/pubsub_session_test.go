package cart

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// mock is a Redis that only knows pub/sub, over pipes, so that time is the bubble's.
type mock struct {
	mu       sync.Mutex
	dials    int
	commands []string // SUBSCRIBE, UNSUBSCRIBE and PING with the number of channels
	conns    []net.Conn
	mute     bool // answers nothing any more
}

func (m *mock) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if ctx.Err() != nil { // as every dialer that opens a real connection
		return nil, ctx.Err()
	}
	client, server := net.Pipe()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dials++
	m.conns = append(m.conns, server)
	go m.serve(server)
	return client, nil
}

func (m *mock) serve(conn net.Conn) {
	r := bufio.NewReader(conn)
	replies := make(chan string, 10_000)
	defer close(replies)
	go func() {
		for reply := range replies {
			_, _ = io.WriteString(conn, reply)
		}
	}()
	for {
		args, err := command(r)
		if err != nil {
			return
		}
		name := strings.ToLower(args[0])
		m.mu.Lock()
		mute := m.mute
		switch name {
		case "subscribe", "unsubscribe", "ping":
			m.commands = append(m.commands, fmt.Sprint(name, " ", len(args)-1))
		}
		m.mu.Unlock()
		switch {
		case mute:
		case name == "subscribe", name == "unsubscribe":
			for _, channel := range args[1:] {
				replies <- fmt.Sprintf("*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:1\r\n", len(name), name, len(channel), channel)
			}
		case name == "ping":
			replies <- "*2\r\n$4\r\npong\r\n$0\r\n\r\n"
		default:
			replies <- "-ERR unknown command\r\n"
		}
	}
}

func command(r *bufio.Reader) ([]string, error) {
	line := func() (int, error) {
		text, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(text[1:]))
	}
	n, err := line()
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := line()
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

// subscriptions counts what a Listener is told.
type subscriptions struct {
	mu    sync.Mutex
	again map[string]int
}

func (s *subscriptions) Changed(string, string) {}
func (s *subscriptions) Subscribed(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again[user]++
}

// linked runs a link on a mock.
func linked(t *testing.T, test func(t *testing.T, m *mock, l *link, again map[string]int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &mock{}
		client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Dialer: m.dial, MaxRetries: -1, DisableIdentity: true, Protocol: 2})
		told := &subscriptions{again: map[string]int{}}
		l := newLink(&nodes{single: client}, told, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			l.run(ctx)
			close(ended)
		}()
		test(t, m, l, told.again)
		stop()
		<-ended
		_ = client.Close()
		for _, c := range m.conns {
			_ = c.Close()
		}
	})
}

func TestAnIdleSubscriptionIsOneConnectionThatIsAskedNowAndThen(t *testing.T) {
	linked(t, func(t *testing.T, m *mock, l *link, again map[string]int) {
		<-l.follow("c", "u1")
		time.Sleep(time.Hour)
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.dials != 1 || len(again) != 0 {
			t.Errorf("%d connections, subscribed again %v", m.dials, again)
		}
		if n := len(m.commands); n < 100 || n > 400 {
			t.Errorf("%d commands in an hour", n)
		}
	})
}

func TestASubscriptionThatFellSilentIsMadeAnew(t *testing.T) {
	linked(t, func(t *testing.T, m *mock, l *link, again map[string]int) {
		<-l.follow("c", "u1")
		m.mu.Lock()
		m.mute = true
		m.mu.Unlock()
		time.Sleep(3*silence + time.Second)
		m.mu.Lock()
		m.mute = false
		m.mu.Unlock()
		time.Sleep(3 * silence)
		synctest.Wait()
		if again["u1"] != 1 {
			t.Errorf("subscribed again %v", again)
		}
	})
}

func TestALostConnectionIsReplacedByOneThatSubscribesInParts(t *testing.T) {
	linked(t, func(t *testing.T, m *mock, l *link, again map[string]int) {
		var last <-chan struct{}
		for i := range 2*channelsAtOnce + 1 {
			last = l.follow(fmt.Sprint("c", i), fmt.Sprint("u", i))
		}
		<-last
		synctest.Wait()
		m.mu.Lock()
		m.commands = nil
		_ = m.conns[0].Close()
		m.mu.Unlock()
		time.Sleep(2 * relinkAfter)
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.dials != 2 || len(again) != 2*channelsAtOnce+1 {
			t.Errorf("%d connections, %d users subscribed again", m.dials, len(again))
		}
		if got := fmt.Sprint(m.commands); got != "[subscribe 500 subscribe 500 subscribe 1]" {
			t.Errorf("sent %s", got)
		}
	})
}

func TestASubscriptionThatRedisEndsItselfIsMadeAnew(t *testing.T) {
	linked(t, func(t *testing.T, m *mock, l *link, again map[string]int) {
		<-l.follow("c", "u1")
		<-l.follow("d", "u2")
		m.mu.Lock()
		_, err := io.WriteString(m.conns[0], "*3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:1\r\n")
		m.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * relinkAfter)
		synctest.Wait()
		if again["u1"] != 1 || again["u2"] != 1 {
			t.Errorf("subscribed again %v", again)
		}
	})
}

func TestAChannelThatIsLeftBeforeItIsConfirmedIsLeftAfterwards(t *testing.T) {
	linked(t, func(t *testing.T, m *mock, l *link, _ map[string]int) {
		<-l.follow("c", "u1")
		l.follow("d", "u2")
		l.unfollow("d")
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		if got := fmt.Sprint(m.commands); got != "[subscribe 1 subscribe 1 unsubscribe 1]" {
			t.Errorf("sent %s", got)
		}
		if len(l.follows) != 1 {
			t.Errorf("%d channels are kept", len(l.follows))
		}
	})
}

func TestALinkWithoutChannelsNeedsNoRedis(t *testing.T) {
	linked(t, func(t *testing.T, m *mock, l *link, _ map[string]int) {
		l.follow("c", "u1")
		l.unfollow("c")
		time.Sleep(time.Hour)
		if m.dials > 1 {
			t.Errorf("%d connections", m.dials)
		}
	})
}

func TestAttemptsToReachRedisGrowRarer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1,
			Dialer: func(context.Context, string, string) (net.Conn, error) {
				dials++
				return nil, errors.New("refused")
			}})
		l := newLink(&nodes{single: client}, &subscriptions{}, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		l.follow("c", "u1")
		l.run(ctx)
		if dials < 25 || dials > 60 {
			t.Errorf("%d attempts in a minute", dials)
		}
		_ = client.Close()
	})
}
