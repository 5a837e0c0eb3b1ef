import requests

# Submit task via API
response = requests.post('http://localhost:8000/api/tasks', json={
    'description': 'Analyze customer satisfaction trends',
    'type': 'analysis',
    'max_agents': 4,
    'priority': 'HIGH'
})

task_id = response.json()['task_id']

# Check task status
status = requests.get(f'http://localhost:8000/api/tasks/{task_id}')
print(status.json())

# Get results
results = requests.get(f'http://localhost:8000/api/tasks/{task_id}/results')
