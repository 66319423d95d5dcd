package launch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options says which engines to run and for how long they live.
type Options struct {
	Redis, Kafka, MongoDB             bool
	RedisPort, KafkaPort, MongoDBPort int    // 0 = a free one
	Data                              string // keeps the data; "" = gone at the end
	Miniredis                         bool   // also where redis-server is installed

	// Mail runs a mail server that keeps what it takes, in files.
	Mail     bool
	MailPort int // 0 = a free one

	// Log takes what the engines complain about; nil = this process's standard error.
	Log *os.File
	// Detached engines outlive this process and ignore its terminal's Ctrl-C; the others end with it,
	// however it ends.
	Detached bool
	// Hold, where set, stays open in the engines' processes for as long as any of them runs.
	Hold *os.File
}

// Addresses tells where the engines answer; "" for one that was not asked for.
type Addresses struct {
	Redis       string `json:"redis"`       // host:port
	RedisServer string `json:"redisServer"` // redis-server or miniredis
	Kafka       string `json:"kafka"`       // host:port
	MongoDB     string `json:"mongodb"`     // a URI with a database
	Mail        string `json:"mail"`        // host:port
	MailDir     string `json:"mailDir"`     // where the mails are, an .eml file each
}

// Engines is a running process of embedded engines.
type Engines struct {
	Addresses

	process *os.Process
	stdin   io.WriteCloser // nil when detached
	exited  chan struct{}
}

// startTimeout is ample: the engines need some 20 ms, and as long again for each 10 MB that they kept.
const startTimeout = time.Minute

// Start builds the engines where needed, starts them and returns once all of them answer. The error of
// an engine that can't start is what it said itself, such as a taken port.
func Start(ctx context.Context, o Options) (*Engines, error) {
	path, err := Binary(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, o.arguments()...) //nolint:noctx,gosec // lives on after ctx; the path is our own build
	complaints, err := complaintsTo(cmd, o.Log)
	if err != nil {
		return nil, err
	}
	if o.Hold != nil {
		cmd.ExtraFiles = []*os.File{o.Hold}
	}
	e := &Engines{exited: make(chan struct{})}
	if o.Detached {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if e.stdin, err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the embedded engines: %w", err)
	}
	e.process = cmd.Process

	announced := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(stdout).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &e.Addresses)
		}
		announced <- err
		_ = cmd.Wait()
		close(e.exited)
	}()
	select {
	case err = <-announced:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(startTimeout):
		err = errors.New("no answer in time")
	}
	if err != nil {
		e.Kill()
		if said := strings.TrimSpace(complaints()); said != "" {
			return nil, errors.New(strings.TrimPrefix(said, "embedded: "))
		}
		return nil, fmt.Errorf("start the embedded engines: %w", err)
	}
	return e, nil
}

// complaintsTo sends the engines' standard error to log, or to ours, and returns how to read what came.
func complaintsTo(cmd *exec.Cmd, log *os.File) (read func() string, err error) {
	if log == nil {
		var said strings.Builder
		cmd.Stderr = io.MultiWriter(os.Stderr, &said)
		return said.String, nil
	}
	// A file, not a pipe: detached engines still write when this process is gone.
	cmd.Stderr = log
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("read the engines' log: %w", err)
	}
	return func() string {
		said, _ := io.ReadAll(io.NewSectionReader(log, from, 64<<10))
		return string(said)
	}, nil
}

func (o Options) arguments() []string {
	var names, args []string
	add := func(on bool, name string, port int) {
		if on {
			names = append(names, name)
			args = append(args, "-"+name+"-port", strconv.Itoa(port))
		}
	}
	add(o.Redis, "redis", o.RedisPort)
	add(o.Kafka, "kafka", o.KafkaPort)
	add(o.MongoDB, "mongodb", o.MongoDBPort)
	add(o.Mail, "mail", o.MailPort)
	args = append(args, "-engines", strings.Join(names, ","), "-data", o.Data)
	if o.Miniredis {
		args = append(args, "-miniredis")
	}
	if !o.Detached {
		args = append(args, "-exit-with-stdin")
	}
	return args
}

// Stop ends the engines in order, so that what they keep is complete, and returns when they are gone.
func (e *Engines) Stop() {
	_ = e.process.Signal(syscall.SIGTERM)
	<-e.exited
}

// Kill ends the engines as a crash would, and returns when they are gone.
func (e *Engines) Kill() {
	_ = e.process.Kill()
	<-e.exited
}

// Pid is the process that serves the engines; a redis-server is a child of it.
func (e *Engines) Pid() int { return e.process.Pid }
