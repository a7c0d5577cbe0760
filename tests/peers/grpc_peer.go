// SPDX-License-Identifier: Apache-2.0
// Copyright the nodeproxy authors

// A gRPC server and a client of Go's grpc, without generated code: messages are bytes.  See grpc_peer.py,
// which is the same in Python.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const service = "test.Peer"
const mib = 1 << 20

// Bytes as they are, in the place of protobuf.
type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v interface{}) error    { *v.(*[]byte) = append([]byte(nil), b...); return nil }
func (raw) Name() string                               { return "proto" }

// ---- the server

var cancelled = make(chan bool, 100)

var flaky = struct {
	sync.Mutex
	asked map[string]int
}{asked: map[string]int{}}

type one func(ctx context.Context, in []byte) ([]byte, error)

func unary(name string, fn one) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ interface{}, ctx context.Context, dec func(interface{}) error,
		_ grpc.UnaryServerInterceptor) (interface{}, error) {
		var in []byte
		if err := dec(&in); err != nil {
			return nil, err
		}
		out, err := fn(ctx, in)
		return &out, err
	}}
}

func stream(name string, fn grpc.StreamHandler, server, client bool) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: name, Handler: fn, ServerStreams: server, ClientStreams: client}
}

func send(s grpc.Stream, b []byte) error { return s.SendMsg(&b) }

func recv(s grpc.Stream) ([]byte, error) {
	var b []byte
	err := s.RecvMsg(&b)
	return b, err
}

func serve(port string) {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(16*mib), grpc.MaxSendMsgSize(16*mib))
	s.RegisterService(&grpc.ServiceDesc{ServiceName: service, HandlerType: (*interface{})(nil),
		Methods: []grpc.MethodDesc{
			unary("Echo", func(ctx context.Context, in []byte) ([]byte, error) {
				grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "behind"))
				return in, nil
			}),
			unary("Fail", func(ctx context.Context, in []byte) ([]byte, error) {
				n, _ := strconv.Atoi(string(in))
				grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "of a failure"))
				return nil, status.Error(codes.Code(n), "as it was asked for")
			}),
			// KEY N [PUSHBACK]: the first N calls of a key fail; then how many there were.
			unary("Flaky", func(ctx context.Context, in []byte) ([]byte, error) {
				words := strings.Fields(string(in))
				n, _ := strconv.Atoi(words[1])
				flaky.Lock()
				defer flaky.Unlock()
				flaky.asked[words[0]]++
				if flaky.asked[words[0]] <= n {
					if len(words) > 2 {
						grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", words[2]))
					}
					return nil, status.Error(codes.Unavailable, "not yet")
				}
				return []byte(strconv.Itoa(flaky.asked[words[0]])), nil
			}),
			unary("WaitCancelled", func(ctx context.Context, in []byte) ([]byte, error) {
				select {
				case <-cancelled:
					return []byte("yes"), nil
				case <-time.After(20 * time.Second):
					return []byte("no"), nil
				}
			}),
		},
		Streams: []grpc.StreamDesc{
			stream("Count", func(_ interface{}, s grpc.ServerStream) error {
				in, err := recv(s)
				n, _ := strconv.Atoi(string(in))
				for i := 0; i < n && err == nil; i++ {
					err = send(s, []byte(strconv.Itoa(i)))
				}
				return err
			}, true, false),
			stream("Hang", func(_ interface{}, s grpc.ServerStream) error {
				if _, err := recv(s); err != nil {
					return err
				}
				if err := send(s, []byte("begun")); err != nil {
					return err
				}
				<-s.Context().Done()
				cancelled <- true
				// No success: ours may be the first of the two clocks to reach the deadline.
				return status.FromContextError(s.Context().Err()).Err()
			}, true, false),
			stream("Add", func(_ interface{}, s grpc.ServerStream) error {
				sum := 0
				for {
					in, err := recv(s)
					if err == io.EOF {
						return send(s, []byte(strconv.Itoa(sum)))
					}
					if err != nil {
						return err
					}
					n, _ := strconv.Atoi(string(in))
					sum += n
				}
			}, false, true),
			stream("Chat", func(_ interface{}, s grpc.ServerStream) error {
				for {
					in, err := recv(s)
					if err == io.EOF {
						return nil
					}
					if err == nil {
						err = send(s, append([]byte("re: "), in...))
					}
					if err != nil {
						return err
					}
				}
			}, true, true),
		}}, struct{}{})
	go s.Serve(l)
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	s.Stop()
}

// ---- the client

type client struct{ c *grpc.ClientConn }

func in(seconds float64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Duration(seconds*float64(time.Second)))
}

func (c client) one(ctx context.Context, name string, in []byte, opts ...grpc.CallOption) ([]byte, error) {
	var out []byte
	err := c.c.Invoke(ctx, "/"+service+"/"+name, &in, &out, opts...)
	return out, err
}

func (c client) open(ctx context.Context, name string) (grpc.ClientStream, error) {
	return c.c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+service+"/"+name)
}

func (c client) ask(ctx context.Context, name string, in []byte) (grpc.ClientStream, error) {
	s, err := c.open(ctx, name)
	if err == nil {
		err = send(s, in)
	}
	if err == nil {
		err = s.CloseSend()
	}
	return s, err
}

func want(got, wanted interface{}) error {
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		return fmt.Errorf("%.100v instead of %.100v", got, wanted)
	}
	return nil
}

func (c client) cancelled() error {
	ctx, over := in(30)
	defer over()
	out, err := c.one(ctx, "WaitCancelled", nil)
	if err != nil {
		return err
	}
	return want(string(out), "yes")
}

func (c client) flaky(ask, answer string) error {
	ctx, over := in(20)
	defer over()
	out, err := c.one(ctx, "Flaky", []byte(ask))
	if status.Code(err) == codes.Unavailable {
		return want("UNAVAILABLE", answer)
	}
	if err != nil {
		return err
	}
	return want(string(out), answer)
}

var cases = []struct {
	name string
	run  func(c client) error
}{
	{"unary", func(c client) error {
		ctx, over := in(20)
		defer over()
		var trailer metadata.MD
		ctx = metadata.AppendToOutgoingContext(ctx, "x-here", "1", "x-data-bin", "\x00\x01\xff")
		out, err := c.one(ctx, "Echo", []byte("hello"), grpc.Trailer(&trailer))
		if err == nil {
			err = want(string(out), "hello")
		}
		if err == nil {
			err = want(trailer.Get("x-trailer"), []string{"behind"})
		}
		return err
	}},
	{"four_mib", func(c client) error {
		ctx, over := in(40)
		defer over()
		big := bytes.Repeat([]byte("0123456789abcdef"), 4*mib/16)
		out, err := c.one(ctx, "Echo", big)
		if err == nil && !bytes.Equal(out, big) {
			err = fmt.Errorf("another message came back")
		}
		return err
	}},
	{"statuses", func(c client) error {
		for code := 1; code <= 16; code++ {
			ctx, over := in(20)
			_, err := c.one(ctx, "Fail", []byte(strconv.Itoa(code)))
			over()
			if bad := want(uint32(status.Code(err)), code); bad != nil {
				return bad
			}
			if bad := want(status.Convert(err).Message(), "as it was asked for"); bad != nil {
				return bad
			}
		}
		return nil
	}},
	{"server_streams", func(c client) error {
		ctx, over := in(20)
		defer over()
		s, err := c.ask(ctx, "Count", []byte("500"))
		for i := 0; i < 500 && err == nil; i++ {
			var b []byte
			if b, err = recv(s); err == nil {
				err = want(string(b), i)
			}
		}
		if err == nil {
			_, err = recv(s)
			err = want(err, io.EOF)
		}
		return err
	}},
	{"client_streams", func(c client) error {
		ctx, over := in(20)
		defer over()
		s, err := c.open(ctx, "Add")
		for i := 0; i < 500 && err == nil; i++ {
			err = send(s, []byte(strconv.Itoa(i)))
		}
		if err == nil {
			err = s.CloseSend()
		}
		var b []byte
		if err == nil {
			b, err = recv(s)
		}
		if err == nil {
			err = want(string(b), 124750)
		}
		return err
	}},
	{"both_stream", func(c client) error {
		ctx, over := in(20)
		defer over()
		s, err := c.open(ctx, "Chat")
		for i := 0; i < 100 && err == nil; i++ {
			var b []byte
			if err = send(s, []byte(strconv.Itoa(i))); err == nil {
				b, err = recv(s)
			}
			if err == nil {
				err = want(string(b), "re: "+strconv.Itoa(i))
			}
		}
		return err
	}},
	// nodeproxy's: the policy of the Service wants two for UNAVAILABLE.
	{"retries", func(c client) error {
		key := fmt.Sprint(time.Now().UnixNano())
		if err := c.flaky(key+"a 2", "3"); err != nil {
			return err
		}
		if err := c.flaky(key+"b 9", "UNAVAILABLE"); err != nil {
			return err
		}
		return c.flaky(key+"b 0", "4")
	}},
	{"pushback", func(c client) error {
		key, began := fmt.Sprint(time.Now().UnixNano()), time.Now()
		if err := c.flaky(key+"a 1 300", "2"); err != nil {
			return err
		}
		if took := time.Since(began); took < 300*time.Millisecond {
			return fmt.Errorf("after %v", took)
		}
		if err := c.flaky(key+"b 1 -1", "UNAVAILABLE"); err != nil {
			return err
		}
		return c.flaky(key+"b 0", "2")
	}},
	{"deadline", func(c client) error {
		ctx, over := in(0.5)
		defer over()
		s, err := c.ask(ctx, "Hang", nil)
		for err == nil {
			_, err = recv(s)
		}
		if bad := want(status.Code(err), codes.DeadlineExceeded); bad != nil {
			return bad
		}
		return c.cancelled()
	}},
	{"cancellation", func(c client) error {
		ctx, over := in(60)
		s, err := c.ask(ctx, "Hang", nil)
		if err == nil {
			_, err = recv(s)
		}
		over()
		if err != nil {
			return err
		}
		return c.cancelled()
	}},
	{"many_at_once", func(c client) error {
		done := make(chan error)
		for i := 0; i < 200; i++ {
			go func(i int) {
				ctx, over := in(30)
				defer over()
				out, err := c.one(ctx, "Echo", []byte(strconv.Itoa(i)))
				if err == nil {
					err = want(string(out), i)
				}
				done <- err
			}(i)
		}
		var first error
		for i := 0; i < 200; i++ {
			if err := <-done; err != nil && first == nil {
				first = err
			}
		}
		return first
	}},
}

func call(port string) int {
	ctx, over := in(20)
	defer over()
	conn, err := grpc.DialContext(ctx, "127.0.0.1:"+port, grpc.WithInsecure(), grpc.WithBlock(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16*mib), grpc.MaxCallSendMsgSize(16*mib)))
	if err != nil {
		fmt.Println("FAILED dial:", err)
		return 1
	}
	defer conn.Close()
	failed := 0
	for _, k := range cases {
		if err := k.run(client{conn}); err != nil {
			failed = 1
			fmt.Printf("FAILED %s: %v\n", k.name, err)
		} else {
			fmt.Println("ok", k.name)
		}
	}
	return failed
}

func main() {
	encoding.RegisterCodec(raw{})
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		serve(os.Args[2])
	} else if len(os.Args) == 3 && os.Args[1] == "call" {
		os.Exit(call(os.Args[2]))
	} else {
		fmt.Fprintln(os.Stderr, "usage: grpc_peer serve|call PORT")
		os.Exit(2)
	}
}
