package cart

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// look returns the scripts of the shard's generation. A server that knows the generation's marker but not yet the
// scripts of this release is given them; one that doesn't know the marker has forgotten, and only recovery may go on.
//
// Whoever waits while another one looks in vain shares what that one found, so that they don't wait one after the other.
func (s *Store) look(ctx context.Context, shard int) (*loaded, error) {
	this := &s.shards[shard]
	if l := this.current.Load(); l != nil {
		return l, nil
	}
	since := time.Now()
	this.looking.Lock()
	defer this.looking.Unlock()
	if l := this.current.Load(); l != nil {
		return l, nil
	}
	if this.failed.After(since) {
		return nil, this.failure
	}
	l, err := s.lookNow(ctx, shard)
	if err != nil {
		this.failure, this.failed = err, time.Now()
		return nil, err
	}
	this.current.Store(l)
	return l, nil
}

func (s *Store) lookNow(ctx context.Context, shard int) (*loaded, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience) // it is for those who wait, too
	defer cancel()
	client, err := s.nodes.node(ctx, shard)
	if err != nil {
		return nil, err
	}
	if err := s.agree(ctx); errors.Is(err, ErrShards) {
		return nil, err // whatever this shard holds belongs to other users
	}
	conn := client.Conn()
	defer conn.Close() //nolint:errcheck // it goes back to the pool or is broken
	server, err := serverID(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("look at shard %d: %w", shard, err)
	}
	found := s.nodes.inspect(ctx, conn, []int{shard}, server)[0]
	if found.Err != nil {
		s.nodes.moved(ctx, errors.Unwrap(found.Err))
		return nil, found.Err
	}
	if !found.Known || found.State != Ready && found.State != Lost {
		s.callRecovery()
		return nil, fmt.Errorf("shard %d: %w", shard, errFenced)
	}
	l := s.set(found.Generation)
	if err := l.load(ctx, conn); err != nil {
		return nil, fmt.Errorf("load scripts for shard %d: %w", shard, err)
	}
	if s.Catalogue != nil {
		s.Catalogue.Forget() // what was cached may be older than what this generation has seen
	}
	return l, nil
}

// set returns the one copy of a generation's scripts.
func (s *Store) set(g Generation) *loaded {
	if l, ok := s.sets.Load(g); ok {
		return l.(*loaded) //nolint:forcetypeassert // sets holds nothing else
	}
	l, _ := s.sets.LoadOrStore(g, scriptsOf(g))
	return l.(*loaded) //nolint:forcetypeassert // see above
}

func (s *Store) forget(shard int, l *loaded) { s.shards[shard].current.CompareAndSwap(l, nil) }
