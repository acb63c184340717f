# The demo, which needs no network:
#   docker build -t kinetics600 . && docker run --rm --network none kinetics600
FROM python:3.12-slim
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir .
ENV HF_HOME=/data
WORKDIR /data
ENTRYPOINT ["kinetics600"]
CMD ["demo"]
